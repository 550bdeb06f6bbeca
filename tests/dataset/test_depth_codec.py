import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboscape.dataset.depth_codec import CODE_MAX, DepthCodec

CODECS = [
    DepthCodec(minimum_m=0.1, maximum_m=10.0),
    DepthCodec(minimum_m=0.01, maximum_m=10.0, shift_m=3.5),
    DepthCodec(minimum_m=0.0, maximum_m=4.0, use_log=False),
]


@pytest.mark.parametrize("codec", CODECS)
def test_every_code_survives_the_way_to_metres_and_back(codec: DepthCodec) -> None:
    codes = np.arange(CODE_MAX + 1, dtype=np.uint16)
    assert np.array_equal(codec.encode(codec.decode(codes)), codes)


@given(st.floats(0.1, 10.0))
def test_depth_is_kept_within_half_a_step(depth_m: float) -> None:
    (kept_m,) = CODECS[0].decode(CODECS[0].encode(np.array([depth_m], np.float32)))
    half_a_step = np.log(10.0 / 0.1) / CODE_MAX / 2
    assert abs(np.log(kept_m / depth_m)) < 1.01 * half_a_step


@pytest.mark.parametrize("codec", CODECS)
def test_depth_out_of_range_is_clipped(codec: DepthCodec) -> None:
    codes = codec.encode(np.array([-1.0, 0.0, np.inf, 1e9], np.float32))
    assert codes.tolist() == [0, 0, CODE_MAX, CODE_MAX]


def test_lerobots_formula_is_followed() -> None:
    # Worked by hand: 4095 (ln(1 + 3.5) - ln(.01 + 3.5)) / (ln(10 + 3.5) - ln(.01 + 3.5)) = 755.4
    assert CODECS[1].encode(np.array([1.0], np.float32)).tolist() == [755]


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="depth holds NaN"):
        CODECS[0].encode(np.array([np.nan], np.float32))


def test_an_impossible_range_is_refused() -> None:
    with pytest.raises(ValueError, match="minimum < maximum"):
        DepthCodec(minimum_m=0.0, maximum_m=1.0)
