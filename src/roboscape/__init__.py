"""RoboScape: a learned simulator of your robot."""

import os

# Equal rows of a batch then have equal products, to the last bit, wherever they lie in memory, as
# equal worlds need (docs/decisions.md). MKL reads this at its first call, so it is set before any.
os.environ.setdefault("MKL_CBWR", "AUTO")
