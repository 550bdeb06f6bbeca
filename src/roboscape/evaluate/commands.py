"""Which recordings hold no commands of their own, so that a model's input is the robot's future."""

from roboscape.dataset.records import DatasetSpec

FROM_STATES = {
    "DROID as mp4 and JSON": (
        "These recordings hold no commands: every action is the robot's recorded pose of the next "
        "row. So the model is given where the robot will be, not what it was commanded."
    ),
    "AgiBot-World": (
        "Where these recordings lack commands, the action is the robot's recorded state of the "
        "next row. There the model is given where the robot will be, not what it was commanded."
    ),
}
"""By the source that a dataset's metadata names."""


def commands_note(spec: DatasetSpec) -> str:
    """What a reader of the figures must know about a dataset's actions; empty where nothing."""
    return FROM_STATES.get(spec.source, "")
