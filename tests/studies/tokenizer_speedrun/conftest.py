"""The fixtures of the tokenizer's tests."""

from tests.tokenizer.conftest import *  # noqa: F403
