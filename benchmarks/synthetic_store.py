"""A token store of random numbers, for measuring what does not depend on what is in it."""

from roboscape.bench.synthetic_store import make_store

__all__ = ["make_store"]
