// The page: shows what the server sends, and sends what the player does.

import { Cloud } from "./cloud.js";
import { Controls } from "./controls.js";
import { Aim } from "./aim.js";
import { clear, codeRange, drawChart, drawConfidence, drawDepth, drawRgb, metres } from "./pictures.js";
import { Connection } from "./socket.js";

const $ = (name) => document.getElementById(name);
const page = { about: null, status: null, frame: null, arrays: null, curves: new Map(), sequence: 0, sent: new Map(), latencies: [], drawn: [], frames: 0, range: null, world: null };
window.roboscape = page;
const cloud = new Cloud($("cloud"));
let controls = null, stepping = false, drawing = false;
const aim = new Aim({
  stack: $("imagined").parentElement, cross: $("aim"), button: $("pick"),
  onPick: (x_px, y_px) => connection.send("drive", { by: "goal", settings: { camera: Math.max(0, $("camera").selectedIndex), x_px, y_px, above_mm: Math.round(10 * Number($("above").value)) } }),
});

const connection = new Connection({
  onText: (content) => (ANSWERS[content.type] ?? (() => {}))(content),
  onFrame: ({ header, arrays }) => {
    page.frame = header; page.arrays = arrays; page.frames += 1; stepping = false;
    if (!drawing) { drawing = true; requestAnimationFrame(draw); }
  },
  onState: (state, words) => { $("connection").dataset.state = state; $("connection").textContent = words; },
});
page.send = (type, content) => connection.send(type, content);

const ANSWERS = {
  welcome: (about) => {
    page.about = about;
    page.sequence = Math.floor(performance.timeOrigin / 1000) % 1e6 * 1000;
    $("checkpoint").textContent = about.checkpoint; $("checkpoint").title = `sha256 ${about.sha256}`;
    $("task").textContent = about.task;
    controls = new Controls({ ...about, onCommand: command, onNudge: nudge });
    $("camera").replaceChildren(...about.cameras.map(({ name }) => new Option(name)));
    $("camera-choice").hidden = about.cameras.length < 2;
    $("start-seed").hidden = !about.has_truth;
    $("start-episode").hidden = $("recorded-actions").hidden = !about.episodes;
    $("with-truth").disabled = !about.has_truth;
    $("goals").hidden = !about.has_goals; aim.side = about.side_px;
    $("policies").hidden = !about.policies.length;
    $("policy").replaceChildren(...about.policies.map((name) => new Option(name)));
    const sizes = about.episodes ?? [];
    for (const name of ["episode", "drive-episode"]) $(name).max = sizes.length - 1;
  },
  status: (status) => { page.status = status; showStatus(); },
  curve: ({ future, first, psnr_db }) => {
    page.curves.set(future, new Map(psnr_db.map((db, at) => [first + at, db])));
    showChart();
  },
  error: ({ message }) => { stepping = false; say(message, "error"); },
  notice: ({ message }) => say(message),
  recorded: ({ path, episode, rows }) => {
    $("recorded").textContent = `Episode ${episode} with ${rows} frames is in ${path}, marked as imagined.`;
    say(`Recorded: episode ${episode}, ${rows} frames.`);
  },
};

// ---- what the player does

function command(values, timeStamp) {
  page.sequence += 1;
  page.sent.set(page.sequence, timeStamp);
  connection.send("command", { values, sequence: page.sequence });
}

// While time stands still, a key takes one frame.
function nudge(values, timeStamp) {
  if (page.status?.running || stepping || !page.frame) return;
  stepping = true;
  page.sequence += 1;
  page.sent.set(page.sequence, timeStamp);
  connection.send("step", { values, sequence: page.sequence });
}

const isText = (target) => target.matches?.("input:not([type=range]):not([type=checkbox]), select, textarea");
document.addEventListener("keydown", (event) => {
  if (!controls || event.ctrlKey || event.metaKey || event.altKey || isText(event.target)) return;
  const onButton = event.target.matches?.("button, summary, a, input");
  const arrow = event.key.startsWith("Arrow");
  const control = arrow && event.target.matches?.("input") ? null : controls.forKey(event);
  if (control) {
    event.preventDefault();
    if (!event.repeat) controls.press(control, `key ${event.code}`, event.timeStamp);
    else if (!page.status?.running) nudge(controls.values(), event.timeStamp);
  } else if (event.key === " " && !onButton) { event.preventDefault(); toggle(); }
  else if (event.key === ".") step();
  else if (event.key === ",") back();
});
document.addEventListener("keyup", (event) => controls?.release(`key ${event.code}`, event.timeStamp));
window.addEventListener("blur", () => controls?.releaseAll(performance.now()));

// After a choice, keys drive again.
document.addEventListener("change", ({ target }) => { if (target.matches("select")) target.blur(); });

const toggle = () => connection.send(page.status?.running ? "pause" : "run");
const step = () => { stepping = true; connection.send("step"); };
const seek = (frame, future) => connection.send("seek", { frame, ...(future === undefined ? {} : { future }) });
const back = () => page.frame && page.frame.frame > page.frame.first && seek(page.frame.frame - 1, page.frame.future);
$("run").onclick = toggle; $("step").onclick = step; $("back").onclick = back;
$("speed").onchange = () => connection.send("speed", { value: Number($("speed").value) });
$("scrubber").oninput = () => seek(Number($("scrubber").value), page.frame?.future);
$("strength").oninput = () => { $("strength-value").textContent = `${$("strength").value} %`; };
const begin = (type, content) => { connection.send(type, content); connection.send("run"); };
$("start-seed").onsubmit = (event) => { event.preventDefault(); begin("start_seed", { seed: Number($("seed").value) }); };
$("next-seed").onclick = () => { $("seed").value = Number($("seed").value) + 1; begin("start_seed", { seed: Number($("seed").value) }); };
$("start-episode").onsubmit = (event) => { event.preventDefault(); begin("start_episode", { episode: Number($("episode").value), row: Number($("row").value) }); };
$("with-truth").onchange = () => connection.send("truth", { shown: $("with-truth").checked });
$("restart").onclick = () => connection.send("restart");
$("sample").onclick = () => connection.send("sample", { temperature: Number($("temperature").value), seed: Number($("chance").value) });
$("record").onclick = () => { $("recorded").textContent = "Writing …"; connection.send("record"); };
$("drive-recorded").onclick = () => connection.send("drive", { by: "episode", settings: { episode: Number($("drive-episode").value), row: Number($("drive-row").value) } });
$("drive-policy").onclick = () => connection.send("drive", { by: "policy", settings: { policy: $("policy").selectedIndex, seed: Number($("policy-seed").value) } });
$("pick").onclick = () => aim.toggle();
$("show-confidence").onchange = () => { if (page.frame) draw(); };
$("camera").onchange = () => { page.range = null; cloud.forget(); showMark(); if (page.frame) draw(); };
$("upload").onclick = async () => {
  const [file] = $("image").files;
  if (!file) { say("Choose a picture first.", "error"); return; }
  const side = page.about.side_px, bitmap = await createImageBitmap(file), square = Math.min(bitmap.width, bitmap.height);
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side }), context = canvas.getContext("2d");
  context.drawImage(bitmap, (bitmap.width - square) / 2, (bitmap.height - square) / 2, square, square, 0, 0, side, side);
  const rgba = context.getImageData(0, 0, side, side).data;
  let text = "";
  for (let i = 0; i < rgba.length; i += 4) text += String.fromCharCode(rgba[i], rgba[i + 1], rgba[i + 2]);
  const numbers = $("state-text").value.split(/[\s,;]+/).filter(Boolean).map(Number);
  const camera = page.about.cameras[$("camera").selectedIndex || 0].name;
  begin("start_image", { rgb: { [camera]: btoa(text) }, state: numbers.length ? numbers : null });
};

// ---- what the page shows

function say(message, kind = "notice") {
  const box = Object.assign(document.createElement("div"), { className: `message ${kind}` });
  if (kind === "error") box.setAttribute("role", "alert");
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×", ariaLabel: "Close this message" });
  close.onclick = () => box.remove();
  box.append(Object.assign(document.createElement("span"), { textContent: message }), close);
  $("messages").append(box);
  while ($("messages").children.length > 3) $("messages").firstChild.remove();
  setTimeout(() => box.remove(), kind === "error" ? 12000 : 7000);
}

function showStatus() {
  const { running, waiting, speed, has_truth, with_truth, driver, futures, present, began } = page.status;
  if (present === null && page.world !== "asked") {
    page.world = "asked";
    if (page.about.has_truth) begin("start_seed", { seed: 0 });
    else begin("start_episode", { episode: 0, row: 0 });
  }
  $("run").textContent = running ? "Pause" : "Run";
  $("run").setAttribute("aria-pressed", String(running));
  $("speed").value = String(speed);
  $("with-truth").checked = with_truth;
  $("restart").disabled = !has_truth;
  $("temperature").value = String(page.status.temperature); $("chance").value = page.status.seed;
  $("driver").textContent = (driver ? `${driver.words}; any key takes over.` : "Your hands drive.") + (began ? ` This world began with ${began}.` : "");
  showMark();
  $("badge").hidden = !(waiting || !running);
  $("badge").textContent = running ? "waiting for a command" : "paused";
  showFutures(futures, present);
}

function showFutures(futures, present) {
  $("futures").replaceChildren(...(futures.length < 2 ? [] : futures.map((one) => {
    const shown = page.frame?.future ?? present;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "future" });
    button.innerHTML = "Future <b></b> <small></small>";
    button.querySelector("b").textContent = one.number + 1;
    button.querySelector("small").textContent = one.parted_at === null ? `to frame ${one.last}` : `parts at ${one.parted_at}, to ${one.last}`;
    button.setAttribute("aria-pressed", String(one.number === shown));
    button.onclick = () => {
      connection.send("compare", { future: shown });
      seek(Math.min(one.last, Math.max(one.first, page.frame?.frame ?? one.last)), one.number);
    };
    return button;
  })));
  const other = futures.find((one) => one.number === page.status.other);
  if (other && futures.length > 1) {
    const repeat = Object.assign(document.createElement("button"), { type: "button", textContent: `Repeat the actions of future ${other.number + 1} from here` });
    repeat.onclick = () => connection.send("drive", { by: "future", settings: { future: other.number, frame: page.frame.frame } });
    $("futures").append(repeat);
  }
}

function draw() {
  drawing = false;
  const { frame, arrays, about } = page;
  if (!frame || !about) return;
  const camera = about.cameras[$("camera").selectedIndex || 0], name = camera.name;
  drawRgb($("imagined"), arrays[`rgb/${name}`]);
  showBeside(arrays, name);
  const confidence = arrays[`confidence/${name}`], overlay = $("show-confidence").checked && confidence;
  $("confidence").hidden = !overlay;
  if (overlay) drawConfidence($("confidence"), confidence);
  const depth = arrays[`depth/${name}`];
  if (depth) {
    if (!page.range || frame.frame === frame.first) page.range = codeRange(depth);
    drawDepth($("depth"), depth, page.range);
    $("depth-range").textContent = page.range.map((code) => metres(code, about.depth).toFixed(2)).join(" – ") + " m";
    cloud.show(depth, arrays[`rgb/${name}`], camera, about.depth);
    if (!camera.measured) $("cloud-note").textContent = "focal length assumed";
  } else clear($("depth"));
  showNumbers();
  measure(performance.now());
}

// Where the planner drives to, in the camera that it was picked in.
function showMark() {
  const mark = page.status?.driver?.mark, camera = page.about?.cameras[$("camera").selectedIndex || 0];
  const isThere = Boolean(mark && camera && mark.camera === camera.name && camera.camera_to_world);
  $("mark").hidden = !isThere;
  if (!isThere) return;
  $("mark").style.left = `${100 * (mark.x_px + 0.5) / camera.width}%`;
  $("mark").style.top = `${100 * (mark.y_px + 0.5) / camera.height}%`;
}

// Beside the imagined picture: another future where one is compared with, else the true world.
function showBeside(arrays, name) {
  const { frame, status } = page, other = arrays[`other_rgb/${name}`], truth = arrays[`true_rgb/${name}`];
  const beside = other ?? truth;
  $("truth").hidden = !beside; $("no-truth").hidden = Boolean(beside);
  if (beside) drawRgb($("truth"), beside);
  $("truth-title").textContent = other ? `Future ${status.other + 1}` : "True simulator";
  $("truth-note").textContent = other ? "same frame" : "";
  const db = other ? frame.other_psnr_db : frame.psnr_db;
  $("psnr").textContent = db === null ? "" : `${db.toFixed(1)} dB`;
  const words = `frame ${frame.frame}` + (db === null ? "" : `, PSNR ${db.toFixed(1)} decibel`);
  if (!status?.running) $("imagined").setAttribute("aria-label", `Imagined picture, ${words}`);
}

function showNumbers() {
  const { frame, about } = page;
  const scrubber = $("scrubber");
  scrubber.min = frame.first; scrubber.max = frame.last; scrubber.value = frame.frame;
  scrubber.setAttribute("aria-valuetext", `frame ${frame.frame} of ${frame.last}`);
  $("clock").textContent = `frame ${frame.frame} of ${frame.last} · ${frame.time_s.toFixed(1)} s`;
  if (!page.curves.has(frame.future)) page.curves.set(frame.future, new Map());
  page.curves.get(frame.future).set(frame.frame, frame.psnr_db);
  showChart();
  const rows = about.state_names.map((name, at) => [name, frame.state[at]?.toFixed(3) ?? "", frame.true_state?.[at]?.toFixed(3) ?? ""]);
  const body = $("state");
  if (body.children.length !== rows.length) body.replaceChildren(...rows.map(() => {
    const row = document.createElement("tr");
    row.append(Object.assign(document.createElement("th"), { scope: "row" }), document.createElement("td"), document.createElement("td"));
    return row;
  }));
  rows.forEach((cells, at) => cells.forEach((text, place) => {
    const cell = body.children[at].children[place];
    if (cell.textContent !== text) cell.textContent = text;
  }));
}

function showChart() {
  if (!page.frame) return;
  const { frame, status } = page, curves = [];
  const sorted = (map) => [...(map ?? [])].filter(([at]) => at >= frame.first).sort(([a], [b]) => a - b);
  const other = status?.other;
  if (other !== null && other !== undefined && other !== frame.future) {
    curves.push({ points: sorted(page.curves.get(other)), name: "--second", dash: [4, 3] });
  }
  curves.push({ points: sorted(page.curves.get(frame.future)), name: "--accent" });
  const future = status?.futures.find((one) => one.number === frame.future);
  drawChart($("chart"), { curves, first: frame.first, last: frame.last, now: frame.frame, parted: future?.parted_at ?? null });
}

// Frames a second over two seconds; milliseconds from a key to the first picture that holds it.
function measure(now) {
  page.drawn.push(now);
  while (page.drawn[0] < now - 2000) page.drawn.shift();
  for (const [sequence, since] of page.sent) {
    if (sequence > page.frame.sequence) continue;
    page.latencies.push(now - since);
    page.sent.delete(sequence);
  }
  page.latencies = page.latencies.slice(-200);
  const recent = page.latencies.slice(-20).sort((a, b) => a - b);
  $("rate").textContent = (page.drawn.length / 2).toFixed(page.drawn.length < 20 ? 1 : 0);
  $("latency").textContent = recent.length ? Math.round(recent[recent.length >> 1]) : "–";
  $("compute").textContent = Math.round(page.frame.compute_ms);
}

const theme = () => document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
$("theme").onclick = () => {
  document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
  localStorage.setItem("theme", theme());
  showChart();
};
if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
window.addEventListener("resize", showChart);
