/**
 * Commands of all input devices, between two frames of the model.
 *
 * Every axis has a value in [-1, 1]. A key or pad that was held for a part of the time between two
 * frames counts for that share, so that no short tap is lost and none counts double.
 */

/** A tap shorter than a frame still counts for this share of it. */
const SHORTEST_SHARE = 0.3;
const DEAD_ZONE = 0.15;

export class Holds {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.since = new Map();
    this.heldMs = new Map();
    this.last = now();
  }

  press(id) {
    if (!this.since.has(id)) this.since.set(id, this.now());
  }

  release(id) {
    const since = this.since.get(id);
    if (since === undefined) return;
    this.since.delete(id);
    const begin = Math.max(since, this.last);
    this.heldMs.set(id, (this.heldMs.get(id) ?? 0) + Math.max(1, this.now() - begin));
  }

  releaseAll() {
    for (const id of [...this.since.keys()]) this.release(id);
  }

  has(id) {
    return this.since.has(id);
  }

  /** Share of the time since the last call that each was held, by id. */
  take() {
    const now = this.now();
    const interval = Math.max(1, now - this.last);
    const shares = new Map();
    const heldMs = new Map(this.heldMs);
    for (const [id, since] of this.since)
      heldMs.set(id, (heldMs.get(id) ?? 0) + now - Math.max(since, this.last));
    for (const [id, ms] of heldMs)
      shares.set(id, Math.min(1, Math.max(SHORTEST_SHARE, ms / interval)));
    this.heldMs.clear();
    this.last = now;
    return shares;
  }
}

/** The first connected gamepad's axes and buttons as commands of the page's axes; null without. */
export function gamepadCommand(axes) {
  const pad = [...(navigator.getGamepads?.() ?? [])].find((one) => one?.connected);
  if (!pad) return null;
  const alive = (value = 0) => (Math.abs(value) < DEAD_ZONE ? 0 : value);
  const pressed = (button) => (pad.buttons[button]?.value ?? 0);
  const command = new Map();
  for (const axis of axes) {
    const { stick, negativeButton, positiveButton, invert } = axis.gamepad ?? {};
    let value = stick === undefined ? 0 : alive(pad.axes[stick]);
    if (positiveButton !== undefined) value += pressed(positiveButton) - pressed(negativeButton);
    if (value) command.set(axis.index, invert ? -value : value);
  }
  return { name: pad.id, command, gripper: pad.buttons[0]?.pressed ?? false };
}

/** The native actions of one frame: `stride` rows of the same command, in stored units. */
export function actionsOf(page, manifest, { shares, sliders, gamepad, amplitude, closed }) {
  const row = new Array(manifest.action.names.length).fill(0);
  for (const axis of page.axes) {
    const held = (shares.get(`${axis.index}+`) ?? 0) - (shares.get(`${axis.index}-`) ?? 0);
    const driven = held + (gamepad?.command.get(axis.index) ?? 0);
    row[axis.index] = amplitude * axis.scale * driven + (sliders.get(axis.index) ?? 0);
    row[axis.index] = Math.max(-1, Math.min(1, row[axis.index]));
  }
  if (page.gripper) row[page.gripper.index] = closed ? page.gripper.closed : page.gripper.open;
  return Array.from({ length: manifest.stride }, () => row).flat();
}
