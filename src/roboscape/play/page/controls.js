// From keys, pads, sliders and a gamepad to one command: a number a dimension of the action.

const ARROWS = { arrowleft: "left", arrowright: "right", arrowup: "away", arrowdown: "closer" };
const LABELS = { left: "← left", right: "right →", away: "↑ away", closer: "closer ↓", up: "⤒ up", down: "⤓ down" };
const DEAD_ZONE = 0.15, GAMEPAD_EVERY_MS = 33;

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

export class Controls {
  // `onCommand(values, timeStamp)` after every change; `onNudge(values, timeStamp)` when a key or pad goes down.
  constructor({ action, controls, onCommand, onNudge }) {
    Object.assign(this, { action, controls, onCommand, onNudge });
    this.held = new Map();
    this.sliders = action.names.map(() => 0);
    this.pad = action.names.map(() => 0);
    this.targets = action.names.map((_, at) => {
      const open = controls.find((one) => one.toggles && one.dimension === at);
      return open ? open.value : 0;
    });
    this.buttons = new Map();
    this.makePads(); this.makeSliders();
    this.last = this.values();
    this.watchGamepad();
  }

  values() {
    const strength = document.getElementById("strength").value / 100;
    const found = this.action.names.map((_, at) => this.action.targets[at] ? this.targets[at] : this.sliders[at] + this.pad[at]);
    for (const one of this.held.values()) if (!one.toggles) found[one.dimension] += one.value * strength;
    return found.map((value) => Math.max(-1, Math.min(1, Math.round(value * 1000) / 1000)));
  }

  changed(timeStamp) {
    const values = this.values();
    if (values.every((value, at) => value === this.last[at])) return;
    this.last = values;
    this.onCommand(values, timeStamp);
  }

  press(control, source, timeStamp) {
    const isNew = !this.held.has(source);
    this.held.set(source, control);
    this.buttons.get(control)?.classList.add("held");
    if (control.toggles) this.grip(control);
    if (isNew) this.changed(timeStamp);
    this.onNudge(this.values(), timeStamp);
  }

  release(source, timeStamp) {
    const control = this.held.get(source);
    if (!control) return;
    this.held.delete(source);
    this.buttons.get(control)?.classList.remove("held");
    this.changed(timeStamp);
  }

  releaseAll(timeStamp) { for (const source of [...this.held.keys()]) this.release(source, timeStamp); }

  grip(control) {
    this.targets[control.dimension] = control.value;
    this.showTargets();
  }

  showTargets() {
    for (const [control, button] of this.buttons)
      if (control.toggles) button.setAttribute("aria-pressed", String(this.targets[control.dimension] === control.value));
    this.inputs?.forEach((input, at) => { if (this.action.targets[at]) this.setSlider(at, this.targets[at]); });
  }

  // The control of a key event; arrows move in the picture's plane too.
  forKey(event) {
    const key = event.key.toLowerCase(), name = ARROWS[key];
    return this.controls.find((one) => (name ? one.name === name : one.key === key));
  }

  makePads() {
    const pads = document.getElementById("pads"), titles = { move: "Move, as seen in the picture", turn: "Turn the hand", grip: "Gripper" };
    pads.replaceChildren();
    const cross = this.controls.filter((one) => ["left", "right", "away", "closer"].includes(one.name));
    const updown = this.controls.filter((one) => ["up", "down"].includes(one.name));
    const groups = [[cross, "pad cross", titles.move], [updown, "pad two", "Height"],
      [this.controls.filter((one) => one.group === "grip"), "pad two", titles.grip],
      [this.controls.filter((one) => one.group === "turn"), "pad full", titles.turn]];
    const column = element("div");
    for (const [controls, kind, title] of groups) {
      if (!controls.length) continue;
      const pad = element("div", { className: kind, role: "group", ariaLabel: title }, element("h3", { textContent: title }));
      for (const control of controls) pad.append(this.makeButton(control));
      if (kind === "pad two") column.append(pad); else pads.append(pad);
      if (kind === "pad cross") pads.append(column);
    }
    if (!this.controls.length) pads.append(element("p", { className: "hint", textContent: "This robot's actions are absolute: use the sliders below." }));
    this.showTargets();
  }

  makeButton(control) {
    const button = element("button", { type: "button", className: control.name.replaceAll(" ", "-") },
      element("span", { textContent: LABELS[control.name] || control.name }), element("kbd", { textContent: control.key.toUpperCase() }));
    button.setAttribute("aria-keyshortcuts", control.key);
    this.buttons.set(control, button);
    button.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      button.setPointerCapture(event.pointerId);
      this.press(control, `pointer ${event.pointerId}`, event.timeStamp);
    });
    for (const end of ["pointerup", "pointercancel"])
      button.addEventListener(end, (event) => this.release(`pointer ${event.pointerId}`, event.timeStamp));
    // Enter and Space on a focused pad hold it while they are down.
    button.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault(); event.stopPropagation();
      this.press(control, `button ${control.key}`, event.timeStamp);
    });
    button.addEventListener("keyup", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.stopPropagation(); this.release(`button ${control.key}`, event.timeStamp); }
    });
    button.addEventListener("blur", (event) => this.release(`button ${control.key}`, event.timeStamp));
    return button;
  }

  makeSliders() {
    const box = document.getElementById("sliders");
    box.replaceChildren();
    this.outputs = [];
    this.inputs = this.action.names.map((name, at) => {
      const input = element("input", { type: "range", min: -1, max: 1, step: 0.05, value: this.action.targets[at] ? this.targets[at] : 0 });
      const output = element("output", { textContent: Number(input.value).toFixed(2) });
      const unit = this.action.units[at] === "1" ? "" : ` (1 is ${this.action.scale[at]} ${this.action.units[at]})`;
      input.title = name + unit;
      input.addEventListener("input", (event) => {
        output.textContent = Number(input.value).toFixed(2);
        if (this.action.targets[at]) { this.targets[at] = Number(input.value); this.showTargets(); } else this.sliders[at] = Number(input.value);
        this.changed(event.timeStamp);
      });
      this.outputs[at] = output;
      box.append(element("label", {}, element("span", { textContent: name }), input, output));
      return input;
    });
    document.getElementById("zero").onclick = (event) => {
      this.sliders.fill(0);
      this.inputs.forEach((_, at) => { if (!this.action.targets[at]) this.setSlider(at, 0); });
      this.changed(event.timeStamp);
    };
  }

  setSlider(at, value) {
    this.inputs[at].value = value;
    this.outputs[at].textContent = value.toFixed(2);
  }

  // Left stick: in the picture's plane; right stick: height and turn; buttons 0 and 1: gripper.
  watchGamepad() {
    const note = document.getElementById("gamepad");
    window.addEventListener("gamepadconnected", ({ gamepad }) => { note.textContent = `Gamepad: ${gamepad.id.slice(0, 40)}`; });
    window.addEventListener("gamepaddisconnected", () => { note.textContent = "A gamepad can be plugged in."; this.pad.fill(0); this.changed(performance.now()); });
    const named = (name) => this.controls.find((one) => one.name === name);
    setInterval(() => {
      const gamepad = [...(navigator.getGamepads?.() ?? [])].find(Boolean);
      if (!gamepad) return;
      this.pad.fill(0);
      const axis = (number, minus, plus) => {
        const value = gamepad.axes[number] ?? 0, control = named(value < 0 ? minus : plus);
        if (control && Math.abs(value) > DEAD_ZONE) this.pad[control.dimension] += control.value * Math.abs(value);
      };
      axis(0, "left", "right"); axis(1, "away", "closer"); axis(3, "up", "down"); axis(2, "turn z +", "turn z −");
      const [open, close] = this.controls.filter((one) => one.toggles);
      if (close && gamepad.buttons[0]?.pressed) this.grip(close);
      if (open && gamepad.buttons[1]?.pressed) this.grip(open);
      this.changed(performance.now());
    }, GAMEPAD_EVERY_MS);
  }
}
