from dataclasses import asdict, dataclass

from roboscape.core.settings import LONGEST, differences


@dataclass(frozen=True, kw_only=True)
class Camera:
    name: str = "front"
    width: int = 64


@dataclass(frozen=True, kw_only=True)
class Recording:
    cameras: tuple[Camera, ...] = (Camera(), Camera(name="wrist"))
    tasks: tuple[str, ...] = ("lift", "push")


def test_only_the_leaves_that_differ_are_named():
    earlier = {"seed": 0, "recipe": {"fit": {"steps": 9, "decay": 0.5}, "seed": 1}, "old": True}
    asked = {"seed": 0, "recipe": {"fit": {"steps": 8, "decay": 0.5, "keep": 2}, "seed": 1}}
    assert differences(earlier, asked) == (
        "recipe.fit.steps: was 9, now 8; old: was True, now absent; "
        "recipe.fit.keep: was absent, now 2"
    )
    assert differences(asked, asked) == ""


def test_settings_that_may_differ_are_left_out():
    asked = {"fit": {"steps": 2, "log_every": 1}}
    assert (
        differences({"fit": {"steps": 2, "log_every": 5}}, asked, ignored=["fit.log_every"]) == ""
    )
    assert "log_every" in differences({"fit": {"steps": 2, "log_every": 5}}, asked)


def test_what_is_absent_and_what_is_none_are_alike():
    assert differences({"a": None}, {"b": None}) == ""
    assert differences({}, {"a": False}) == "a: was absent, now False"


def test_lists_of_settings_are_compared_entry_by_entry_and_others_whole():
    changed = Recording(cameras=(Camera(), Camera(name="wrist", width=32)), tasks=("lift",))
    assert differences(asdict(Recording()), asdict(changed)) == (
        "cameras.1.width: was 64, now 32; tasks: was ('lift', 'push'), now ('lift',)"
    )


def test_a_whole_part_that_is_gone_is_named_by_its_leaves():
    assert differences({"fit": {"a": 1, "b": {}}}, {"fit": {}}) == (
        "fit.a: was 1, now absent; fit.b: was {}, now absent; fit: was absent, now {}"
    )


def test_long_values_are_shown_in_part():
    (shown,) = differences({"seeds": []}, {"seeds": list(range(500))}).split("; ")
    assert len(shown) < LONGEST + 40 and shown.endswith("…")
