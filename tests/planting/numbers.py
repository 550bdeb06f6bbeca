"""Wrong numbers, planted: in actions, states, and what the convention says of them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from roboscape.dataset.conventions import gripper_ends
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.inspection.faults.pairs import (
    angle_groups,
    aperture,
    grippers,
    motion_pairs,
    quaternion_groups,
)
from roboscape.inspection.repairs.repair import with_numbers
from tests.planting.planting import FEW, Planted, in_each, random_of, rows_of


def constant(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The second commanded axis always 0."""
    pairs = motion_pairs(spec)
    if len(pairs) < 2:
        return None
    return _change_action(spec, episodes, pairs[1].action, lambda column: 0 * column)


def clipped(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The first commanded axis cut off at its median size, in two episodes."""
    pairs = motion_pairs(spec)
    if not pairs or spec.action.mode != "delta":
        return None
    place = pairs[0].action

    def change(episode: Episode) -> Episode:
        limit = np.median(np.abs(episode.actions[:, place]))
        actions = episode.actions.copy()
        actions[:, place] = actions[:, place].clip(-limit, limit)
        return replace(episode, actions=actions)

    changed = [change(one) if number < FEW else one for number, one in enumerate(episodes)]
    return Planted(spec=spec, episodes=changed, where=f"action {spec.action.names[place]}")


def gripper_inverted(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The gripper's command the wrong way round."""
    places, ends = np.flatnonzero(grippers(spec.action.names)), gripper_ends(spec.action)
    if not len(places) or ends is None or aperture(episodes[0].state, spec.state_names) is None:
        return None
    return _change_action(spec, episodes, int(places[0]), lambda column: sum(ends) - column)


def quaternion_not_unit(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The state's quaternion 1.3 times as long."""
    groups = quaternion_groups(spec.state_names)
    if not groups:
        return None
    name, places = next(iter(groups.items()))
    return _change_state(spec, episodes, places, lambda part, _: 1.3 * part, where=f"state {name}")


def quaternion_sign(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The state's quaternion negated from a random row on."""
    groups = quaternion_groups(spec.state_names)
    if not groups:
        return None
    name, places = next(iter(groups.items()))

    def change(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
        later = np.arange(len(part)) >= random.integers(2, len(part) - 2)
        return np.where(later[:, None], -part, part)

    return _change_state(spec, episodes, places, change, where=f"state {name}")


def degrees_state(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The angles of the state in degrees."""
    groups = angle_groups(spec.state_names)
    if not groups:
        return None
    places = next(iter(groups.values()))
    names = ", ".join(spec.state_names[place] for place in places)
    return _change_state(
        spec, episodes, places, lambda part, _: np.rad2deg(part), where=f"state {names}"
    )


def degrees_action(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The rotations of the action in degrees, declared as radians."""
    groups = angle_groups(spec.action.names)
    if not groups or not spec.action.known:
        return None
    places = next(iter(groups.values()))

    def change(episode: Episode) -> Episode:
        actions = episode.actions.copy()
        actions[:, places] = np.rad2deg(actions[:, places])
        return with_numbers(episode, "action", actions)

    names = ", ".join(spec.action.names[place] for place in places)
    return in_each(spec, episodes, change, where=f"action {names}")


def scale_too_large(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The first axis's scale declared ten times too large."""
    return _scaled(spec, episodes, 10.0)


def scale_too_small(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The first axis's scale declared a thousand times too small: millimetres for metres."""
    return _scaled(spec, episodes, 0.001)


def absolute_as_delta(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The next position stored as the action, declared delta."""
    pairs = motion_pairs(spec)
    if not pairs or spec.action.mode != "delta":
        return None

    def change(episode: Episode) -> Episode:
        actions = episode.actions[:-1].copy()
        for pair in pairs:
            actions[:, pair.action] = episode.state[1:, pair.state]
        return rows_of(episode, np.arange(len(episode) - 1), actions=actions)

    names = ", ".join(pair.name for pair in pairs)
    return in_each(spec, episodes, change, where=f"action {names}")


def delta_as_absolute(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Deltas declared absolute."""
    if not motion_pairs(spec) or spec.action.mode != "delta":
        return None
    action = replace(spec.action, mode="absolute")
    return Planted(spec=replace(spec, action=action), episodes=episodes, where="action")


def state_spikes(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """The second position leaps by three of its ranges, twice an episode, for one row."""
    pairs = motion_pairs(spec)
    if len(pairs) < 2:
        return None
    place = pairs[1].state
    leap = 3 * np.ptp(np.concatenate([one.state[:, place] for one in episodes]))

    def change(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
        part[random.choice(np.arange(4, len(part) - 4, 4), 2, replace=False)] += leap
        return part

    return _change_state(spec, episodes, [place], change, where=f"state {spec.state_names[place]}")


def _change_action(
    spec: DatasetSpec,
    episodes: list[Episode],
    place: int,
    change: Callable[[np.ndarray], np.ndarray],
) -> Planted:
    def changed(episode: Episode) -> Episode:
        actions = episode.actions.copy()
        actions[:, place] = change(actions[:, place])
        return replace(episode, actions=actions)

    return in_each(spec, episodes, changed, where=f"action {spec.action.names[place]}")


def _change_state(
    spec: DatasetSpec,
    episodes: list[Episode],
    places: list[int],
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    *,
    where: str,
) -> Planted:
    def changed(episode: Episode) -> Episode:
        state = episode.state.copy()
        state[:, places] = change(state[:, places], random_of(episode))
        return replace(episode, state=state)

    return in_each(spec, episodes, changed, where=where)


def _scaled(spec: DatasetSpec, episodes: list[Episode], factor: float) -> Planted | None:
    pairs = motion_pairs(spec)
    if not pairs or not spec.action.known:
        return None
    pair = pairs[0]
    scale = list(spec.action.scale)
    scale[pair.action] *= factor
    action = replace(spec.action, scale=tuple(scale))
    return Planted(
        spec=replace(spec, action=action), episodes=episodes, where=f"action {pair.name}"
    )
