// Drawing arrays: RGB, depth as colours, confidence as a heat map, PSNR along time.

// Near is bright; equal steps of colour are equal ratios of depth.
const ANCHORS = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]];
const INFERNO = lut(ANCHORS);
const DOUBT = lut([[255, 40, 110], [255, 176, 40], [90, 220, 190]]);

function lut(anchors) {
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (anchors.length - 1), low = Math.min(Math.floor(place), anchors.length - 2);
    for (let c = 0; c < 3; c++) table[3 * i + c] = anchors[low][c] + (place - low) * (anchors[low + 1][c] - anchors[low][c]);
  }
  return table;
}

function image(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  return [context, context.createImageData(width, height)];
}

export function drawRgb(canvas, { data, shape: [height, width] }) {
  const [context, picture] = image(canvas, width, height);
  for (let i = 0, j = 0, to = picture.data; i < data.length; i += 3, j += 4) {
    to[j] = data[i]; to[j + 1] = data[i + 1]; to[j + 2] = data[i + 2]; to[j + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

// 12-bit codes are linear in the logarithm of depth.
export const metres = (code, { nearest_m, farthest_m }) => nearest_m * (farthest_m / nearest_m) ** (code / 4095);

export function codeRange({ data }) {
  const sorted = Uint16Array.from(data).sort();
  return [sorted[Math.floor(sorted.length * 0.01)], Math.max(sorted[Math.floor(sorted.length * 0.99)], sorted[0] + 1)];
}

export function drawDepth(canvas, { data, shape: [height, width] }, [near, far]) {
  const [context, picture] = image(canvas, width, height);
  for (let i = 0, j = 0, to = picture.data; i < data.length; i++, j += 4) {
    const level = 3 * Math.max(0, Math.min(255, Math.round(255 * (far - data[i]) / (far - near))));
    to[j] = INFERNO[level]; to[j + 1] = INFERNO[level + 1]; to[j + 2] = INFERNO[level + 2]; to[j + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

// Sure tokens are nearly clear, unsure ones opaque.
export function drawConfidence(canvas, { data, shape: [height, width] }) {
  const [context, picture] = image(canvas, width, height);
  for (let i = 0, j = 0, to = picture.data; i < data.length; i++, j += 4) {
    const level = 3 * data[i];
    to[j] = DOUBT[level]; to[j + 1] = DOUBT[level + 1]; to[j + 2] = DOUBT[level + 2]; to[j + 3] = 255 - 0.8 * data[i];
  }
  context.putImageData(picture, 0, 0);
}

export function clear(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

// Curves of PSNR (dB) by frame number; `marks` are frames where the imagined world was restarted.
export function drawChart(canvas, { curves, first, last, now, parted }) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth || 640, height = 110;
  canvas.width = width * scale; canvas.height = height * scale;
  const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  context.scale(scale, scale);
  context.font = "11px system-ui, sans-serif";
  const low = 10, high = 45, left = 30, right = width - 8, top = 8, bottom = height - 20;
  const x = (frame) => left + (right - left) * (frame - first) / Math.max(20, last - first);
  const y = (db) => bottom - (bottom - top) * (Math.max(low, Math.min(high, db)) - low) / (high - low);
  context.strokeStyle = colour("--line"); context.fillStyle = colour("--quiet"); context.lineWidth = 1;
  for (const db of [10, 20, 30, 40]) {
    context.beginPath(); context.moveTo(left, y(db)); context.lineTo(right, y(db)); context.stroke();
    context.fillText(String(db), 8, y(db) + 4);
  }
  context.fillText("dB", 8, height - 5); context.fillText(`frame ${first}`, left, height - 5);
  const end = String(Math.max(last, first + 20));
  context.fillText(end, right - context.measureText(end).width, height - 5);
  for (const { points, name, dash } of curves) {
    context.strokeStyle = colour(name); context.lineWidth = 2; context.setLineDash(dash || []);
    context.beginPath();
    let drawing = false;
    for (const [frame, db] of points) {
      if (db === null) { drawing = false; continue; }
      if (drawing) context.lineTo(x(frame), y(db)); else context.moveTo(x(frame), y(db));
      drawing = true;
    }
    context.stroke();
  }
  context.setLineDash([3, 3]); context.lineWidth = 1; context.strokeStyle = colour("--quiet");
  if (parted !== null) { context.beginPath(); context.moveTo(x(parted), top); context.lineTo(x(parted), bottom); context.stroke(); }
  context.setLineDash([]); context.strokeStyle = colour("--text");
  context.beginPath(); context.moveTo(x(now), top - 4); context.lineTo(x(now), bottom); context.stroke();
}
