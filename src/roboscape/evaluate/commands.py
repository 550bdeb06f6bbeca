"""Recordings without commands, where a model's input is where the robot was or will be."""

from roboscape.dataset.records import Commands, DatasetSpec

NOTES: dict[Commands, str] = {
    "recorded": "",
    "next_state": (
        "Where these recordings lack commands, the action is the robot's recorded state of the "
        "next row. There the model is given where the robot will be, not what it was commanded."
    ),
    "current_state": (
        "Where these recordings lack commands, the action is the robot's recorded state of the "
        "same row. There the model is given where the robot was, up to the row before each "
        "predicted frame, not what it was commanded."
    ),
}
"""By what a dataset's metadata says of its actions."""


def commands_note(spec: DatasetSpec) -> str:
    """A note on a dataset's actions for readers of the figures; empty where nothing is to say."""
    return NOTES[spec.commands]
