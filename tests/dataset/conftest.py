"""The fixtures of `tests/small_dataset.py`."""

from tests.small_dataset import *  # noqa: F403
