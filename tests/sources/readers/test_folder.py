import json

import numpy as np
import pytest

from roboscape.core.video import write_video
from roboscape.sources.readers import folder


@pytest.fixture
def source(tmp_path):
    return folder.example(tmp_path)


def table(source, name, header, rows):
    lines = [",".join(header), *(",".join(map(str, row)) for row in rows)]
    (source / f"episodes/{name}.csv").write_text("\n".join(lines) + "\n")


def test_the_convention_is_what_the_file_says(source):
    spec = folder.open_recordings(source).spec()
    assert spec.action.names == ("x", "y", "gripper")
    assert (spec.action.mode, spec.action.scale) == ("delta", (0.02, 0.02, 1.0))
    assert (spec.robot_type, spec.fps, spec.action.action_hz) == ("arm of ours", 10.0, 10.0)
    assert spec.state_names == ("x", "y")


def test_without_it_the_meaning_is_unknown(source, caplog):
    (source / folder.CONVENTION_FILE).unlink()
    spec = folder.open_recordings(source).spec()
    assert (spec.action.known, spec.action.mode) == (False, "absolute")
    assert "convention.json does not exist" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, r"convention\.json has unknown entries \['colour'\]"),
        ({"scale": [1.0]}, r"convention\.json: .*3 names, 3 units, 1 scales"),
        ({"mode": None}, r"convention\.json lacks an entry .*'mode'"),
    ],
)
def test_a_wrong_convention_is_named(source, change, message):
    path = source / folder.CONVENTION_FILE
    about = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: v for name, v in about.items() if v is not None}))
    with pytest.raises(ValueError, match=message):
        folder.open_recordings(source).spec()


def test_columns_are_found_by_name_in_any_order(source):
    header = ["state.y", "action.gripper", "action.y", "action.x", "state.x", "timestamp", "reward"]
    table(source, "take_1", header, [(5, 3, 2, 1, 4, 0.1 * t, t) for t in range(8)])
    episode = folder.open_recordings(source).read("take_1")
    np.testing.assert_array_equal(episode.actions[0], [1, 2, 3])
    np.testing.assert_array_equal(episode.state[0], [4, 5])
    np.testing.assert_array_equal(episode.reward, np.arange(8))


def test_without_prefixes_every_other_column_is_an_action(source):
    (source / folder.CONVENTION_FILE).unlink()
    header = ["timestamp", "j1", "j2", "state.j1", "success"]
    for name in ("take_0", "take_1", "take_2"):
        (source / f"episodes/{name}.parquet").unlink(missing_ok=True)
        table(source, name, header, [(t / 10, t, -t, 2 * t, int(t == 7)) for t in range(8)])
    reader = folder.open_recordings(source)
    assert reader.spec().action.names == ("j1", "j2")
    assert reader.spec().state_names == ("j1",)
    assert reader.read("take_2").success


def test_a_folder_of_videos_is_several_cameras(source):
    for name in ("take_0", "take_1", "take_2"):
        video = source / f"episodes/{name}.mp4"
        (source / f"episodes/{name}").mkdir()
        video.rename(source / f"episodes/{name}/wrist.mp4")
        write_video(
            source / f"episodes/{name}/top.mp4", np.zeros((8, 16, 16, 3), np.uint8), fps=10.0
        )
    reader = folder.open_recordings(source)
    assert [camera.name for camera in reader.spec().cameras] == ["top", "wrist"]
    assert reader.read("take_0").frames["top"].shape == (8, 16, 16, 3)
    (source / "episodes/take_1/top.mp4").unlink()
    with pytest.raises(ValueError, match=r"take_1\.csv has no video of camera top"):
        reader.read("take_1")


def test_the_task_of_an_episode_goes_before_the_task_of_all(source):
    (source / "episodes/take_1.txt").write_text("pull the block")
    reader = folder.open_recordings(source)
    assert [reader.read(key).task for key in reader.keys()] == [  # noqa: SIM118
        "push the block",
        "pull the block",
        "push the block",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (7, r"take_1\.mp4: expected a frame for each of 7 rows of numbers, found more"),
        (9, r"take_1\.mp4: expected a frame for each of 9 rows of numbers, found 8"),
    ],
)
def test_rows_without_frames_are_refused(source, rows, message):
    header = ["action.x", "action.y", "action.gripper", "state.x", "state.y"]
    table(source, "take_1", header, [range(5)] * rows)
    write_video(
        source / "episodes/take_1.mp4",
        np.zeros((rows + 2 if rows < 8 else 8, 32, 48, 3), np.uint8),
        fps=10.0,
    )
    with pytest.raises(ValueError, match=message):
        folder.open_recordings(source).read("take_1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "action.x,action.y\n1,2\n",
            r"take_1\.csv: expected numbers in the columns .*action\.gripper",
        ),
        ("action.x,action.y\n1,2,3\n", r"take_1\.csv is not a readable table"),
        ("action.x,action.y\n", r"take_1\.csv has no rows"),
        ("", r"take_1\.csv is not a readable table"),
        (
            "action.x,action.y,action.gripper,state.x,state.y\n" + "1,2,open,4,5\n" * 8,
            r"take_1\.csv: expected numbers",
        ),
    ],
)
def test_a_broken_table_is_named(source, text, message):
    (source / "episodes/take_1.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        folder.open_recordings(source).read("take_1")
