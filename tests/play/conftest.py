import pytest

pytest.importorskip("starlette", reason="the extra `play` is not installed")

from tests.play.pages import opened


@pytest.fixture
def stage(tiny_bundle, lift_dataset, tmp_path):
    """No true simulator; three recorded episodes to start from."""
    with opened(tiny_bundle, lift_dataset, tmp_path) as found:
        yield found
