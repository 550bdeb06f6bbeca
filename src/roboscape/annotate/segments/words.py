"""Words for what a robot does, made of its task's own words."""

import re

_PREPOSITIONS = r"\b(to|into|in|on|onto|from|with|and|at|using|over|under|off|through|then|by)\b"
_PARTICLES = ("up", "down", "away", "out", "off")


def object_of(task: str) -> str:
    """The object that a task names: "the red cube" for "lift the red cube"."""
    words = re.sub(r"[.!?]", "", task.strip()).split()[1:]
    while words and words[0].lower() in _PARTICLES:
        words = words[1:]
    phrase = re.split(_PREPOSITIONS, " ".join(words), flags=re.IGNORECASE)[0].strip(" ,")
    return phrase or "the object"


def holding_skill(task: str, *, closes: bool) -> str:
    """The skill of a gripper that closes or opens."""
    return f"grasp {object_of(task)}" if closes else f"release {object_of(task)}"


def motion_skill(
    task: str, *, closed: bool, holds: bool, closes_later: bool, closed_before: bool
) -> str:
    """The skill of a hand between gripper events."""
    if closed and holds:
        return task.strip() or "carry the object"
    if closed:
        return "move with the empty gripper closed"
    if closes_later:
        return f"reach for {object_of(task)}"
    return f"move away from {object_of(task)}" if closed_before else "move with the gripper open"
