import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboscape.core.files import read_json, write_json
from roboscape.sources.readers import rlds
from roboscape.sources.readers.crc32c import crc32c, masked_crc32c
from roboscape.sources.readers.rlds_datasets import DATASETS
from roboscape.sources.readers.tf_example import encode_example, parse_example
from roboscape.sources.readers.tfrecord import index_records, read_record, write_records

BRIDGE = Path(__file__).parents[4] / "shared/data/bridge_rlds"
TRAIN_FILE = "bridge_dataset-train.tfrecord-00000-of-00001"


def read_all(recordings, *, cameras=None):
    keys = recordings.keys()
    return [recordings.read(key, cameras=cameras) for key in keys]


def slow_crc32c(data):
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_crc32c_gives_the_published_values(data, expected):
    assert crc32c(data) == expected


@pytest.mark.parametrize("size", [1023, 1024, 1025, 1280, 4099, 20_000])
def test_crc32c_of_many_lanes_is_that_of_one_byte_after_the_other(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    assert crc32c(data) == slow_crc32c(data)


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.floats(width=32, allow_nan=False)),
    st.lists(st.binary()),
)
def test_an_example_comes_back(integers, floats, texts):
    written = encode_example(
        {
            "integers": np.array(integers, np.int64),
            "floats": np.array(floats, np.float32),
            "texts": texts,
        }
    )
    found = parse_example(memoryview(written))
    assert np.array_equal(found["integers"], integers)
    assert np.array_equal(found["floats"], np.array(floats, np.float32))
    assert [bytes(text) for text in found["texts"]] == texts


def test_floats_that_are_not_packed_are_read_too():
    values = b"".join(b"\x0d" + struct.pack("<f", number) for number in (1.5, -2.0))
    feature = b"\x12" + bytes([len(values)]) + values
    entry = b"\x0a\x01a\x12" + bytes([len(feature)]) + feature
    entries = b"\x0a" + bytes([len(entry)]) + entry
    message = b"\x0a" + bytes([len(entries)]) + entries
    assert parse_example(memoryview(message))["a"].tolist() == [1.5, -2.0]


def test_something_else_than_an_example_is_refused():
    with pytest.raises(ValueError, match=r"expected a tf.train.Example"):
        parse_example(memoryview(b"\x0a\x7fhello"))


def test_a_wrong_checksum_costs_one_record(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, [b"first", b"second", b"third"])
    content = bytearray(path.read_bytes())
    content[content.index(b"second")] ^= 1
    path.write_bytes(content)
    first, second, third = index_records(path)
    assert bytes(read_record(first)) == b"first"
    assert bytes(read_record(third)) == b"third"
    with pytest.raises(ValueError, match=rf"a.tfrecord, record 1, byte {second.offset}: .*checks"):
        read_record(second)


def test_a_truncated_end_costs_the_last_record(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, [b"first", b"second"])
    path.write_bytes(path.read_bytes()[:-3])
    first, second = index_records(path)
    assert bytes(read_record(first)) == b"first"
    with pytest.raises(ValueError, match=r"record 1, byte 21: the file ends at byte 40"):
        read_record(second)


def test_a_broken_header_ends_the_file_but_not_what_is_before_it(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, [b"first", b"second", b"third"])
    content = bytearray(path.read_bytes())
    content[index_records(path)[1].offset] ^= 1
    path.write_bytes(content)
    first, broken = index_records(path)
    assert bytes(read_record(first)) == b"first"
    with pytest.raises(ValueError, match=r"record 1, byte 21: the checksum of its length"):
        read_record(broken)


def test_the_checksum_is_masked_as_in_the_format(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, [b"x"])
    *lengths, checksum = struct.unpack("<QI", path.read_bytes()[:12])
    crc = slow_crc32c(struct.pack("<Q", 1))
    assert lengths == [1]
    assert checksum == masked_crc32c(struct.pack("<Q", 1))
    assert checksum == ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def test_a_damaged_episode_leaves_the_others(tmp_path):
    source = rlds.example(tmp_path)
    path = source / TRAIN_FILE
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    recordings = rlds.open_recordings(source)
    first, last = recordings.keys()
    assert len(recordings.read(first)) == 6
    with pytest.raises(ValueError, match=f"{TRAIN_FILE}, record 1, byte"):
        recordings.read(last)


def test_images_are_red_where_they_were_written_red(tmp_path):
    recordings = rlds.open_recordings(rlds.example(tmp_path))
    frames = recordings.read(recordings.keys()[0], cameras=("image_1",)).frames
    assert list(frames) == ["image_1"]
    red, green, blue = frames["image_1"][2, 12, 16]
    assert red > 200
    assert green < 120
    assert blue < 120


def test_the_newest_version_is_opened(tmp_path):
    source = rlds.example(tmp_path)
    source.rename(source.with_name("0.9.0"))
    rlds.example(tmp_path / "again")
    (tmp_path / "again/bridge_dataset/1.0.0").rename(source.with_name("0.10.0"))
    assert rlds.open_recordings(source.parent).folder.name == "0.10.0"


def test_an_unknown_dataset_is_open_about_it(tmp_path, caplog):
    source = rlds.example(tmp_path)
    info = read_json(source / "dataset_info.json")
    write_json(source / "dataset_info.json", info | {"name": "my_robot"})
    spec = rlds.open_recordings(source).spec()
    assert not spec.action.known
    assert spec.action.names[0] == "action_0"
    assert len(spec.state_names) == 7
    assert "my_robot" in caplog.text


def test_a_camera_without_images_is_left_out(tmp_path):
    source = rlds.example(tmp_path)
    path = source / TRAIN_FILE
    black = rlds.cv2.imencode(".jpg", np.zeros((32, 48, 3), np.uint8))[1].tobytes()
    examples = []
    for record in index_records(path):
        features = parse_example(read_record(record))
        whole = {
            name: values if isinstance(values, np.ndarray) else [bytes(value) for value in values]
            for name, values in features.items()
        }
        examples.append(whole | {"steps/observation/image_1": [black] * 6})
    write_records(path, [encode_example(example) for example in examples])
    names = [camera.name for camera in rlds.open_recordings(source).spec().cameras]
    assert names == ["image_0"]


def test_splits_on_disk_are_kept(tmp_path):
    source = rlds.example(tmp_path)
    recordings = rlds.open_recordings(source)
    assert recordings.read(recordings.keys()[0]).split is None
    validation = source / "bridge_dataset-val.tfrecord-00000-of-00001"
    validation.write_bytes((source / TRAIN_FILE).read_bytes())
    recordings = rlds.open_recordings(source)
    splits = [episode.split for episode in read_all(recordings)]
    assert splits == ["train"] * 2 + ["validation"] * 2


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected a TFDS dataset with features.json"):
        rlds.open_recordings(tmp_path)


@pytest.mark.parametrize("name", DATASETS)
def test_known_datasets_name_every_gripper_and_dimension(name):
    about = DATASETS[name]
    assert about.convention.gripper_open != about.convention.gripper_closed
    assert about.convention.action_hz == about.fps
    assert len(about.state_names) in (7, 8)


@pytest.mark.skipif(not BRIDGE.exists(), reason="shared/data/bridge_rlds is absent")
def test_real_bridge_recordings():
    recordings = rlds.open_recordings(BRIDGE)
    spec = recordings.spec()
    assert [(c.name, c.height, c.width) for c in spec.cameras] == [
        ("image_0", 64, 64),
        ("image_1", 64, 64),
        ("image_2", 64, 64),
    ]
    episodes = read_all(recordings, cameras=("image_0",))
    assert [len(episode) for episode in episodes] == [10] * 25
    assert len({episode.task for episode in episodes}) == 4
    # A delta in metres and radians is what the state's next difference shows.
    commanded = np.concatenate([episode.actions[:-1, :6] for episode in episodes])
    moved = np.concatenate([np.diff(episode.state[:, :6], axis=0) for episode in episodes])
    slope = (commanded * moved).sum(0) / (commanded**2).sum(0)
    assert (slope > 0.5).all()
    assert (slope < 1.2).all()
    # Gripper and its state open in the same direction.
    gripper = np.concatenate([episode.actions[:-1, 6] for episode in episodes])
    opening = np.concatenate([episode.state[1:, 6] for episode in episodes])
    assert np.corrcoef(gripper, opening)[0, 1] > 0.7
