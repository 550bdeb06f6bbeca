import msgpack
import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.policies.remote.wire import pack, unpack

ARRAYS = [
    np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    np.array([[1.5, -2.0]], np.float32),
    np.array(3.25),
    np.zeros((0, 7)),
    np.array([True, False]),
    np.arange(4, dtype=">i2"),
    np.arange(12).reshape(3, 4).T,
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_an_array_arrives_as_it_was_sent(array):
    arrived = unpack(pack({"actions": array}))["actions"]
    assert arrived.dtype == array.dtype
    np.testing.assert_array_equal(arrived, array)
    arrived[...] = 0


def test_everything_else_arrives_too():
    content = {"prompt": "lift it", "n": 3, "x": 0.5, "none": None, "nested": {"list": [1, "two"]}}
    assert unpack(pack(content)) == content
    number = unpack(pack({"x": np.float32(0.1)}))["x"]
    assert isinstance(number, np.float32)
    assert number == np.float32(0.1)


def test_arrays_are_written_as_openpi_writes_them():
    """The maps of `openpi_client.msgpack_numpy`: keys are bytes, shapes lists, types as `<f4`."""
    written = msgpack.unpackb(pack({"state": np.array([[1, 2]], np.float32)}))
    assert written == {
        "state": {
            b"__ndarray__": True,
            b"data": np.array([1, 2], "<f4").tobytes(),
            b"dtype": "<f4",
            b"shape": [1, 2],
        }
    }
    assert msgpack.unpackb(pack(np.int64(7))) == {
        b"__npgeneric__": True,
        b"data": 7,
        b"dtype": "<i8",
    }


def encoded(**changes):
    array = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    return msgpack.packb({"x": array | {key.encode(): value for key, value in changes.items()}})


BROKEN = {
    "no msgpack": b"\xc1\xff",
    "cut off": pack({"x": np.zeros(10)})[:-3],
    "too few bytes": encoded(shape=[3]),
    "too many bytes": encoded(shape=[1]),
    "a negative size": encoded(shape=[-2]),
    "a size that is no number": encoded(shape=["2"]),
    "an unknown type": encoded(dtype="nonsense"),
    "pickled objects": encoded(dtype="|O"),
    "structures": encoded(dtype=[["a", "<f4"]]),
    "texts": encoded(dtype="<U2", shape=[1]),
    "dates": encoded(dtype="<M8[s]", shape=[1]),
    "a text as data": encoded(data="12345678"),
    "nothing": b"",
    "a million levels": b"\x91" * 1_000_000,
}


@pytest.mark.parametrize("message", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_message_is_refused(message):
    with pytest.raises(UserError):
        unpack(message)


def test_a_text_is_no_message():
    with pytest.raises(UserError, match="got the text 'hello'"):
        unpack("hello")


@pytest.mark.parametrize(("size", "needed"), [(1, 4), (3, 12)])
def test_an_array_has_exactly_the_bytes_of_its_shape(size, needed):
    with pytest.raises(UserError, match=f"needs {needed} bytes, got 8"):
        unpack(encoded(shape=[size]))


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["text"])])
def test_what_is_no_number_is_not_sent(array):
    with pytest.raises(UserError, match="cannot travel"):
        pack({"x": array})
