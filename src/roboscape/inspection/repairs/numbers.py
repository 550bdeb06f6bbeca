"""Repairs of actions and states."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.conventions import flip_gripper, gripper_ends
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.inspection.faults.numbers import spike_limits, spike_rows
from roboscape.inspection.faults.pairs import grippers, motion_pairs, quaternion_groups
from roboscape.inspection.repairs.repair import (
    Repair,
    SourceDataset,
    names_of,
    numbers_of,
    one_of,
    positive_number,
    with_numbers,
)
from roboscape.inspection.survey import NUMBERS, Numbers


def flip_gripper_repair(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`flip_gripper`: what opened closes, within the convention's two values."""
    places = np.flatnonzero(grippers(spec.action.names)).tolist()
    ends = gripper_ends(spec.action)
    if ends is None or not places or value:
        raise UserError(
            "--fix flip_gripper takes no value, and needs a dimension named like a gripper and a "
            f"convention that says which value opens it; got {value!r}, "
            f"{len(places)} such dimensions, gripper {spec.action.gripper!r}"
        )

    def repair(_: int, episode: Episode) -> Episode:
        actions = episode.actions
        for place in places:
            actions = flip_gripper(actions, dimension=place, low=min(ends), high=max(ends))
        return with_numbers(episode, "action", actions)

    return Repair(spec=spec, episode=repair)


def unit_quaternions(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`unit_quaternions`: every quaternion of action and state divided by its length."""
    _no_value(value, "unit_quaternions")

    def repair(_: int, episode: Episode) -> Episode:
        for what in NUMBERS:
            for places in quaternion_groups(names_of(spec, what)).values():
                values = numbers_of(episode, what).copy()
                values[:, places] = _to_unit(values[:, places].astype(np.float64))
                episode = with_numbers(episode, what, values)
        return episode

    return Repair(spec=spec, episode=repair)


def continuous_quaternions(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`continuous_quaternions`: the sign nearest to the row before; in all episodes alike."""
    _no_value(value, "continuous_quaternions")
    starts = {
        (what, name): source.of(what)[0, places].astype(np.float64)
        for what in NUMBERS
        for name, places in quaternion_groups(names_of(spec, what)).items()
    }

    def repair(_: int, episode: Episode) -> Episode:
        for what in NUMBERS:
            for name, places in quaternion_groups(names_of(spec, what)).items():
                values = numbers_of(episode, what).copy()
                values[:, places] = _keep_sign(values[:, places], starts[what, name])
                episode = with_numbers(episode, what, values)
        return episode

    return Repair(spec=spec, episode=repair)


def radians(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`radians=state:joint_1,joint_2`: those dimensions from degrees to radians."""
    what, names = _dimensions(value, spec, fix="radians")
    places = [names_of(spec, what).index(name) for name in names]

    def repair(_: int, episode: Episode) -> Episode:
        values = numbers_of(episode, what).copy()
        values[:, places] = np.deg2rad(values[:, places])
        return with_numbers(episode, what, values)

    return Repair(spec=spec, episode=repair)


def drop_dimension(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`drop_dimension=action:eef_rx`: without that dimension."""
    what, names = _dimensions(value, spec, fix="drop_dimension")
    kept = [place for place, name in enumerate(names_of(spec, what)) if name not in names]
    if not kept:
        raise UserError(f"--fix drop_dimension={value} would leave no {what} at all")

    def repair(_: int, episode: Episode) -> Episode:
        return with_numbers(episode, what, numbers_of(episode, what)[:, kept])

    if what == "state":
        state_names = tuple(spec.state_names[place] for place in kept)
        return Repair(spec=replace(spec, state_names=state_names), episode=repair)
    fields = ("names", "units", "scale", "normalization_offset", "normalization_scale")
    chosen = {}
    for field in fields:
        before = getattr(spec.action, field)
        chosen[field] = tuple(before[place] for place in kept) if before else ()
    return Repair(spec=replace(spec, action=replace(spec.action, **chosen)), episode=repair)


def repair_spikes(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`repair_spikes=state`: rows that leap away and back take the mean of their neighbours."""
    what = _numbers(value, fix="repair_spikes")
    limits = spike_limits(source.of(what))

    def repair(_: int, episode: Episode) -> Episode:
        values = numbers_of(episode, what).copy()
        spikes = spike_rows(values, limits=limits)
        between = values.copy()
        between[1:-1] = (values[:-2] + values[2:]) / 2
        return with_numbers(episode, what, np.where(spikes, between, values))

    return Repair(spec=spec, episode=repair)


def set_fps(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`set_fps=20`: rows, and actions, at that rate."""
    fps = positive_number(value, fix="set_fps")
    action = replace(spec.action, action_hz=fps)
    return Repair(spec=replace(spec, fps=fps, action=action), episode=_unchanged)


def set_mode(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`set_mode=absolute`: what the convention says; actions that follow the state have scale 1."""
    mode = one_of(value, ("delta", "absolute"), fix="set_mode")
    scale = list(spec.action.scale)
    for pair in motion_pairs(spec):
        if mode == "absolute":
            scale[pair.action] = 1.0
    action = replace(
        spec.action, mode="delta" if mode == "delta" else "absolute", scale=tuple(scale)
    )
    return Repair(spec=replace(spec, action=action), episode=_unchanged)


def set_scale(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`set_scale=eef_x:0.05`: physical units per stored unit of a dimension of the action."""
    name, _, number = value.partition(":")
    if name not in spec.action.names:
        raise UserError(
            f"--fix set_scale={value}: expected NAME:NUMBER with a name among "
            f"{', '.join(spec.action.names)}"
        )
    scale = list(spec.action.scale)
    scale[spec.action.names.index(name)] = positive_number(number, fix="set_scale")
    action = replace(spec.action, scale=tuple(scale))
    return Repair(spec=replace(spec, action=action), episode=_unchanged)


def _unchanged(_: int, episode: Episode) -> Episode:
    return episode


def _no_value(value: str, fix: str) -> None:
    if value:
        raise UserError(f"--fix {fix} takes no value, got {value!r}")


def _numbers(value: str, *, fix: str) -> Numbers:
    return "action" if one_of(value, NUMBERS, fix=fix) == "action" else "state"


def _dimensions(value: str, spec: DatasetSpec, *, fix: str) -> tuple[Numbers, list[str]]:
    """The dimensions that `action:NAME,NAME` or `state:NAME` names."""
    first, _, rest = value.partition(":")
    what = _numbers(first, fix=fix)
    names = rest.split(",")
    if unknown := [name for name in names if name not in names_of(spec, what)]:
        raise UserError(
            f"--fix {fix}={value}: there is no {what} {', '.join(unknown)}; there are "
            f"{', '.join(names_of(spec, what))}"
        )
    return what, names


def _to_unit(quaternions: Float[np.ndarray, "t 4"]) -> Float[np.ndarray, "t 4"]:
    lengths = np.linalg.norm(quaternions, axis=1, keepdims=True)
    if (lengths == 0).any():
        raise UserError(
            f"a quaternion in row {int(lengths.argmin())} is all zeros, which is no rotation; "
            "drop the episode"
        )
    return quaternions / lengths


def _keep_sign(
    quaternions: Float[np.ndarray, "t 4"], start: Float[np.ndarray, "4"]
) -> Float[np.ndarray, "t 4"]:
    """Every row with the sign nearest to the row before, the first one to `start`."""
    before = np.concatenate([start[None], quaternions[:-1]])
    products = (quaternions * before).sum(axis=1, keepdims=True)
    return quaternions * np.cumprod(np.where(products < 0, -1.0, 1.0), axis=0)
