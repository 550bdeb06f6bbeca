/** Pictures of frames: RGB, depth in colours, and doubt laid over them. */

/** Near to far, as red, green, blue. */
const STOPS = [
  [253, 244, 203],
  [248, 190, 110],
  [219, 105, 92],
  [140, 50, 112],
  [61, 28, 101],
  [14, 10, 36],
];

function colourTable() {
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (STOPS.length - 1);
    const stop = Math.min(STOPS.length - 2, Math.floor(place));
    for (let c = 0; c < 3; c++)
      table[3 * i + c] = STOPS[stop][c] + (place - stop) * (STOPS[stop + 1][c] - STOPS[stop][c]);
  }
  return table;
}

const TABLE = colourTable();

/** Put an image of RGB bytes on a canvas of its size. */
export function drawRgb(canvas, rgb, { height, width }) {
  const image = new ImageData(width, height);
  for (let i = 0, pixels = height * width; i < pixels; i++) {
    image.data[4 * i] = rgb[3 * i];
    image.data[4 * i + 1] = rgb[3 * i + 1];
    image.data[4 * i + 2] = rgb[3 * i + 2];
    image.data[4 * i + 3] = 255;
  }
  put(canvas, image);
}

/** Put depth on a canvas: equal steps of colour are equal relative steps of depth. */
export function drawDepth(canvas, depth_m, { height, width, min_m, max_m }) {
  const image = new ImageData(width, height);
  const range = Math.log(max_m / min_m);
  for (let i = 0; i < depth_m.length; i++) {
    const share = Math.log(Math.max(min_m, Math.min(max_m, depth_m[i])) / min_m) / range;
    const entry = 3 * Math.round(255 * share);
    image.data.set([TABLE[entry], TABLE[entry + 1], TABLE[entry + 2], 255], 4 * i);
  }
  put(canvas, image);
}

/** The colours of depth from near to far, for a legend. */
export function legendGradient() {
  return `linear-gradient(to right, ${STOPS.map((stop) => `rgb(${stop.join(" ")})`).join(", ")})`;
}

/** Lay a veil over tokens that the model is not sure of. */
export function drawDoubt(canvas, confidence, [rows, columns]) {
  const context = canvas.getContext("2d");
  const [height, width] = [canvas.height / rows, canvas.width / columns];
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const doubt = 1 - confidence[row * columns + column];
      if (doubt < 0.02) continue;
      context.fillStyle = `rgb(255 0 128 / ${0.75 * doubt})`;
      context.fillRect(column * width, row * height, width, height);
    }
}

function put(canvas, image) {
  if (canvas.width !== image.width || canvas.height !== image.height)
    Object.assign(canvas, { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
}
