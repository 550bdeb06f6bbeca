/** The page: pads, keys and sliders in, pictures out; the model is in `worker.js`. */
import { Holds, actionsOf, gamepadCommand } from "./drivers.js";
import { drawDepth, drawDoubt, drawRgb, legendGradient } from "./drawing.js";

const element = (id) => document.getElementById(id);
const began = performance.now();

/** Calls of the worker, answered in order. */
class Model {
  constructor(onProgress) {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.waiting = new Map();
    this.next = 0;
    this.worker.onmessage = ({ data }) => {
      if (data.progress) return onProgress(data.progress);
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      return data.error === undefined ? resolve(data.result) : reject(new Error(data.error));
    };
    this.worker.onerror = ({ message }) => {
      for (const { reject } of this.waiting.values()) reject(new Error(message ?? "worker failed"));
      this.waiting.clear();
    };
  }

  call(call, rest = {}) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, call, ...rest });
    });
  }
}

const ui = {
  page: null,
  manifest: null,
  frame: null,
  playing: false,
  stepping: false,
  closed: false,
  start: 0,
  sliders: new Map(),
  times: [],
  stepMs: [],
};
const holds = new Holds();

let loaded = 0;
const model = new Model((bytes) => {
  loaded += bytes;
  const total = ui.totalBytes ?? 16e6;
  element("loading-bar").value = Math.min(1, loaded / total);
  element("loading-text").textContent = `Loading the model… ${(loaded / 1e6).toFixed(1)} MB`;
});

function say(text) {
  element("status").textContent = text;
}

function notice(text) {
  element("notice").textContent = text;
  element("notice").hidden = !text;
}

/** Show a frame, and how far back one can go. */
function show(frame) {
  ui.frame = frame;
  const { page, manifest } = ui;
  const size = { height: page.height, width: page.width };
  drawRgb(element("rgb"), frame.rgb, size);
  const doubt = element("doubt").checked;
  const tokens = frame.confidence.length / (manifest.has_depth ? 2 : 1);
  if (doubt) drawDoubt(element("rgb"), frame.confidence.subarray(0, tokens), manifest.token_grid);
  if (frame.depth_m) {
    const range = { min_m: manifest.depth_min_m, max_m: manifest.depth_max_m };
    drawDepth(element("depth"), frame.depth_m, { ...size, ...range });
    if (doubt) drawDoubt(element("depth"), frame.confidence.subarray(tokens), manifest.token_grid);
  }
  element("time").textContent = `${(frame.position / manifest.frame_hz).toFixed(1)} s`;
  showState(frame.state);
  showDistance();
}

function showTimeline({ position, oldest }) {
  const timeline = element("timeline");
  Object.assign(timeline, { min: oldest, max: position, value: position });
  timeline.disabled = position === oldest;
  timeline.setAttribute("aria-valuetext", `${(position / ui.manifest.frame_hz).toFixed(1)} seconds`);
  element("back").disabled = position === oldest;
}

function showState(state) {
  if (!ui.manifest.imagines_state) return;
  const names = ui.manifest.state_names;
  element("state").replaceChildren(
    ...names.flatMap((name, i) => {
      const [term, value] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name.replaceAll("_", " ");
      value.textContent = state[i].toFixed(3);
      return [term, value];
    }),
  );
}

let pointer = null;
function showDistance() {
  const output = element("distance");
  output.hidden = !pointer || !ui.frame?.depth_m;
  if (output.hidden) return;
  const { height, width } = ui.page;
  const x = Math.min(width - 1, Math.floor(pointer.x * width));
  const y = Math.min(height - 1, Math.floor(pointer.y * height));
  output.textContent = `${ui.frame.depth_m[y * width + x].toFixed(2)} m`;
}

/** Frames and milliseconds of the last seconds. */
function showFigures() {
  const now = performance.now();
  ui.times = ui.times.filter((time) => now - time < 3000);
  const count = ui.times.length;
  const span = count > 1 ? (ui.times[count - 1] - ui.times[0]) / 1000 : 0;
  element("fps").textContent = span ? ((count - 1) / span).toFixed(1) : "–";
  const sorted = ui.stepMs.slice(-15).sort((a, b) => a - b);
  element("latency").textContent = sorted.length
    ? Math.round(sorted[Math.floor(sorted.length / 2)])
    : "–";
}

function gripper(closed) {
  ui.closed = closed;
  const button = element("gripper");
  button.setAttribute("aria-pressed", String(closed));
  button.textContent = closed ? "Open the gripper" : "Close the gripper";
}

let gripperButton = false;
function commands() {
  const shares = holds.take();
  const gamepad = gamepadCommand(ui.page.axes);
  if (gamepad) {
    element("gamepad").textContent = `Gamepad: ${gamepad.name}`;
    if (gamepad.gripper && !gripperButton) gripper(!ui.closed);
    gripperButton = gamepad.gripper;
  }
  const amplitude = Number(element("amplitude").value);
  const { closed, sliders } = ui;
  return actionsOf(ui.page, ui.manifest, { shares, sliders, gamepad, amplitude, closed });
}

/** One frame under the commands since the last. */
async function step(actions = commands()) {
  ui.stepping = true;
  try {
    const temperature = Number(element("temperature").value);
    const frame = await model.call("step", { actions, temperature });
    ui.times.push(performance.now());
    ui.stepMs.push(frame.step_ms);
    show(frame);
    showTimeline(frame);
    showFigures();
    return frame;
  } finally {
    ui.stepping = false;
  }
}

let due = 0;
async function run() {
  while (ui.playing) {
    const speed = Number(document.querySelector("input[name=speed]:checked").value);
    const interval = speed ? 1000 / (ui.manifest.frame_hz * speed) : 0;
    // A frame that came late moves the next ones back: no queue builds up.
    due = Math.max(due + interval, performance.now() - interval);
    const waitMs = due - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    if (!ui.playing) break;
    try {
      await step();
    } catch (error) {
      play(false);
      notice(`The model stopped: ${error.message}. Reload the page.`);
    }
  }
  ui.running = false;
}

function play(playing) {
  ui.playing = playing;
  const button = element("play");
  button.textContent = playing ? "Pause" : "Go on";
  button.setAttribute("aria-pressed", String(playing));
  if (playing && !ui.running) {
    ui.running = true;
    [ui.times, due] = [[], performance.now()];
    holds.take();
    run();
  }
  say(playing ? "Running." : "Paused.");
}

/** Pause, and wait for the step under way. */
async function halt() {
  play(false);
  while (ui.stepping) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function reset(start = ui.start, seed = undefined) {
  const playing = ui.playing;
  await halt();
  ui.start = start;
  gripper(false);
  const frame = await model.call("reset", { start, seed });
  show(frame);
  showTimeline(frame);
  say(`Start ${start + 1}, the true first frame.`);
  if (playing) play(true);
  return frame;
}

async function rewind(frame) {
  await halt();
  const found = await model.call("rewind", { frame });
  show(found);
  showTimeline(found);
  say(`Back at ${(frame / ui.manifest.frame_hz).toFixed(1)} seconds.`);
  return found;
}

/** A pad of an axis' one direction; it is held while a pointer or its key is down. */
function padOf(axis, sign) {
  const side = sign > 0 ? axis.positive : axis.negative;
  const id = `${axis.index}${sign > 0 ? "+" : "-"}`;
  const button = document.createElement("button");
  button.className = "pad";
  button.style.gridArea = side.area;
  button.dataset.hold = id;
  button.disabled = true;
  const keys = side.keys.map(shortKey).join(" or ");
  button.setAttribute("aria-label", `${side.label}, key ${keys}`);
  button.innerHTML = `<b aria-hidden="true"></b><kbd aria-hidden="true"></kbd>`;
  button.firstChild.textContent = side.label;
  button.lastChild.textContent = shortKey(side.keys.at(-1));
  const down = (event) => {
    if (event.isTrusted && event.pointerId !== undefined) button.setPointerCapture(event.pointerId);
    hold(id);
  };
  button.addEventListener("pointerdown", down);
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
    button.addEventListener(name, () => letGo(id));
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("keydown", ({ code, repeat }) => {
    if ((code === "Enter" || code === "Space") && !repeat) hold(id);
  });
  button.addEventListener("keyup", ({ code }) => {
    if (code === "Enter" || code === "Space") letGo(id);
  });
  button.addEventListener("blur", () => letGo(id));
  return button;
}

function shortKey(code) {
  const arrows = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
  return arrows[code] ?? code.replace(/^(Key|Digit)/, "");
}

const padFor = (id) => document.querySelector(`[data-hold="${id}"]`);

function hold(id) {
  holds.press(id);
  padFor(id)?.classList.add("held");
  if (!ui.playing && !ui.stepping && ui.manifest) play(true);
}

function letGo(id) {
  holds.release(id);
  padFor(id)?.classList.remove("held");
}

function sliderOf(name, index) {
  const label = document.createElement("label");
  label.className = "field";
  const text = document.createElement("span");
  const value = document.createElement("output");
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: -1, max: 1, step: 0.05, value: 0 });
  // Without it the label would be the output's, which comes first.
  input.id = label.htmlFor = `dimension-${index}`;
  const unit = ui.manifest.action.units[index];
  const scale = ui.manifest.action.scale[index];
  const update = () => {
    ui.sliders.set(index, Number(input.value));
    const physical = Number((input.value * scale).toFixed(3));
    value.textContent = unit === "1" ? `${physical}` : `${physical} ${unit}`;
  };
  input.addEventListener("input", update);
  text.append(`${name.replaceAll("_", " ")} `, value);
  label.append(text, input);
  update();
  return label;
}

function startOf(rgb, index) {
  const label = document.createElement("label");
  label.innerHTML = `<input type="radio" name="start"><canvas aria-hidden="true"></canvas>`;
  const [input, canvas] = label.children;
  input.setAttribute("aria-label", `Start ${index + 1}`);
  input.checked = index === 0;
  input.addEventListener("change", () => reset(index));
  drawRgb(canvas, rgb, { height: ui.page.height, width: ui.page.width });
  return label;
}

function build({ page, manifest, backend, reason, starts }) {
  Object.assign(ui, { page, manifest });
  element("backend").textContent = backend === "webgpu" ? "WebGPU" : "WebAssembly";
  element("backend").title = reason || "";
  element("depth-figure").hidden = !manifest.has_depth;
  element("near").textContent = `${manifest.depth_min_m} m`;
  element("far").textContent = `${manifest.depth_max_m} m`;
  element("gradient").style.background = legendGradient();
  const pads = element("pads");
  for (const axis of page.axes) pads.append(padOf(axis, -1), padOf(axis, +1));
  const gripperIndex = page.gripper?.index;
  const dimensions = [...manifest.action.names.entries()].filter(([i]) => i !== gripperIndex);
  element("sliders").append(...dimensions.map(([i, name]) => sliderOf(name, i)));
  element("gripper").hidden = !page.gripper;
  element("starts").append(...starts.map(startOf));
  const { provenance, bundle } = manifest;
  const hash = provenance.weights_sha256["world_model/model.safetensors"].slice(0, 12);
  element("provenance").textContent =
    `Model: ${bundle}, weights ${hash}, roboscape ${provenance.roboscape}. ` +
    (reason ? `Runs on the processor: ${reason}.` : "");
  for (const button of document.querySelectorAll("button:disabled")) button.disabled = false;
}

function bindKeys() {
  const held = new Map(
    ui.page.axes.flatMap((axis) => [
      ...axis.negative.keys.map((key) => [key, `${axis.index}-`]),
      ...axis.positive.keys.map((key) => [key, `${axis.index}+`]),
    ]),
  );
  const typing = (target) => target.matches?.("input[type=range], input[type=radio]");
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const id = held.get(event.code);
    // Arrow keys belong to a slider that has the focus.
    if (id && !(typing(event.target) && event.code.startsWith("Arrow"))) {
      event.preventDefault();
      if (!event.repeat) hold(id);
    } else if (event.repeat || typing(event.target)) return;
    else if (event.code === "KeyG") gripper(!ui.closed);
    else if (event.code === "KeyP") play(!ui.playing);
    else if (event.code === "KeyZ") back();
    else if (event.code === "Digit0") reset();
  });
  window.addEventListener("keyup", ({ code }) => held.has(code) && letGo(held.get(code)));
  window.addEventListener("blur", () => {
    holds.releaseAll();
    for (const pad of document.querySelectorAll(".held")) pad.classList.remove("held");
  });
}

async function back() {
  const { position, oldest } = ui.frame;
  return rewind(Math.max(oldest, position - Math.round(ui.manifest.frame_hz)));
}

function bind() {
  element("play").addEventListener("click", () => play(!ui.playing));
  element("step").addEventListener("click", async () => {
    await halt();
    await step();
  });
  element("back").addEventListener("click", back);
  element("reset").addEventListener("click", () => reset());
  element("gripper").addEventListener("click", () => gripper(!ui.closed));
  element("timeline").addEventListener("input", async ({ target }) => {
    await halt();
    show(await model.call("peek", { frame: Number(target.value) }));
  });
  element("timeline").addEventListener("change", ({ target }) => rewind(Number(target.value)));
  element("zero").addEventListener("click", () => {
    for (const input of element("sliders").querySelectorAll("input")) {
      input.value = 0;
      input.dispatchEvent(new Event("input"));
    }
  });
  for (const id of ["amplitude", "temperature"]) {
    const write = () => (element(`${id}-value`).textContent = element(id).value);
    element(id).addEventListener("input", write);
    write();
  }
  element("doubt").addEventListener("change", () => ui.frame && show(ui.frame));
  element("depth").addEventListener("pointermove", ({ offsetX, offsetY, target }) => {
    pointer = { x: offsetX / target.clientWidth, y: offsetY / target.clientHeight };
    showDistance();
  });
  element("depth").addEventListener("pointerleave", () => {
    pointer = null;
    showDistance();
  });
  // Nobody watches a hidden page; a phone's battery would pay for it.
  document.addEventListener("visibilitychange", () => document.hidden && ui.playing && play(false));
  // After a click arrow keys drive again; with the keyboard they move what has the focus.
  document.addEventListener("pointerup", () =>
    setTimeout(() => document.activeElement?.matches("input") && document.activeElement.blur()),
  );
  bindKeys();
}

async function main() {
  const backend = new URLSearchParams(location.search).get("backend") ?? "auto";
  try {
    build(await model.call("load", { backend }));
  } catch (error) {
    element("loading").hidden = true;
    const local = location.protocol === "file:";
    notice(
      local
        ? "Browsers load no models from files. Serve this folder: python -m http.server"
        : `The model could not be loaded: ${error.message}`,
    );
    return;
  }
  bind();
  await reset(0);
  element("loading").hidden = true;
  ui.firstFrameMs = performance.now() - began;
  say("This is the true first frame. Drive: everything after it is imagined.");
  document.documentElement.dataset.ready = "true";
}

/** For the console, tests and benchmarks: the same that the buttons do. */
window.roboscape = { ui, reset, step, rewind, play, gripper };

main();
