"""Meta-World's fifty tasks in words."""

from roboscape.core.errors import UserError

TASK_TEXTS = {
    "assembly": "put the ring on the peg",
    "basketball": "drop the basketball into the basket",
    "bin-picking": "move the block from one bin to the other",
    "box-close": "put the lid on the box",
    "button-press": "push the button",
    "button-press-topdown": "press the button from above",
    "button-press-topdown-wall": "press the button from above, past the wall",
    "button-press-wall": "reach around the wall and push the button",
    "coffee-button": "push the button of the coffee machine",
    "coffee-pull": "pull the mug away from the coffee machine",
    "coffee-push": "push the mug under the coffee machine",
    "dial-turn": "turn the dial",
    "disassemble": "take the ring off the peg",
    "door-close": "close the door",
    "door-lock": "lock the door by turning the lock",
    "door-open": "open the door",
    "door-unlock": "unlock the door by turning the lock",
    "drawer-close": "close the drawer",
    "drawer-open": "open the drawer",
    "faucet-close": "turn the faucet off",
    "faucet-open": "turn the faucet on",
    "hammer": "hammer the nail into the wall",
    "hand-insert": "put the gripper into the hole",
    "handle-press": "press the handle down",
    "handle-press-side": "press the handle down from the side",
    "handle-pull": "pull the handle up",
    "handle-pull-side": "pull the handle up from the side",
    "lever-pull": "pull the lever up",
    "peg-insert-side": "insert the peg into the hole from the side",
    "peg-unplug-side": "pull the peg out of the hole, sideways",
    "pick-out-of-hole": "pick the puck out of the hole",
    "pick-place": "pick up the puck and take it to the goal",
    "pick-place-wall": "pick up the puck and take it over the wall to the goal",
    "plate-slide": "slide the plate into the goal",
    "plate-slide-back": "slide the plate out of the goal",
    "plate-slide-back-side": "slide the plate out of the goal, sideways",
    "plate-slide-side": "slide the plate into the goal, sideways",
    "push": "push the puck to the goal",
    "push-back": "pull the puck back to the goal",
    "push-wall": "push the puck around the wall to the goal",
    "reach": "reach the goal",
    "reach-wall": "reach the goal behind the wall",
    "shelf-place": "put the block on the shelf",
    "soccer": "push the ball into the goal",
    "stick-pull": "grasp the stick and pull the box with it",
    "stick-push": "grasp the stick and push the box with it",
    "sweep": "sweep the block off the table",
    "sweep-into": "sweep the block into the hole",
    "window-close": "close the window",
    "window-open": "open the window",
}


def choose_tasks(names: tuple[str, ...]) -> tuple[str, ...]:
    """The tasks of a request: `all`, or names with or without Meta-World's version suffix.

    Raises:
        ValueError: a name that Meta-World does not have.
    """
    if names == ("all",):
        return tuple(TASK_TEXTS)
    tasks = tuple(name.removesuffix("-v3") for name in names)
    unknown = [task for task in tasks if task not in TASK_TEXTS]
    if unknown or not tasks:
        raise UserError(
            f"Meta-World has no task {', '.join(unknown) or '(none named)'}; name `all`, or some "
            f"of {', '.join(TASK_TEXTS)}"
        )
    return tasks
