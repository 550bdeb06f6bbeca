// A point cloud of a depth image, drawn in software: some 16 000 points need no graphics card.
// Camera axes: x right, y up, z backward (OpenGL's), as in dataset/cameras.py.

const FIELD = 0.9, FIRST_YAW = 0.5, FIRST_PITCH = 0.12;

export class Cloud {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = null;
    this.reset();
    let held = null;
    canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { held = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      this.turn((event.clientX - held[0]) * 0.01, (event.clientY - held[1]) * 0.01);
      held = [event.clientX, event.clientY];
    });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoomBy(Math.exp(-event.deltaY * 0.001)); }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, -0.12], ArrowDown: [0, 0.12] };
      if (turns[event.key]) this.turn(...turns[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoomBy(1.15);
      else if (event.key === "-") this.zoomBy(1 / 1.15);
      else if (event.key === "Home") { this.reset(); this.draw(); }
      else return;
      event.preventDefault(); event.stopPropagation();
    });
  }

  reset() { this.yaw = FIRST_YAW; this.pitch = FIRST_PITCH; this.zoom = 1; }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + pitch));
    this.draw();
  }

  zoomBy(factor) { this.zoom = Math.max(0.3, Math.min(6, this.zoom * factor)); this.draw(); }

  // depth: 12-bit codes; rgb: bytes; view: focal_px and camera_to_world of the camera.
  show(depth, rgb, view, range) {
    const [height, width] = depth.shape, count = height * width, points = new Float32Array(3 * count);
    const table = this.table(range);
    for (let row = 0, i = 0; row < height; row++) for (let column = 0; column < width; column++, i++) {
      const z = table[depth.data[i]];
      points[3 * i] = (column + 0.5 - width / 2) / view.focal_px * z;
      points[3 * i + 1] = -(row + 0.5 - height / 2) / view.focal_px * z;
      points[3 * i + 2] = -z;
    }
    const middle = table[depth.data[Math.floor(height * 0.55) * width + Math.floor(width / 2)]];
    if (!this.points) this.centre = -middle;
    const world = view.camera_to_world;
    this.up = world ? [world[2][0], world[2][1], world[2][2]] : [0, 1, 0];
    this.points = points; this.colours = rgb.data;
    this.draw();
  }

  table({ nearest_m, farthest_m }) {
    if (!this.depths) this.depths = Float32Array.from({ length: 4096 }, (_, code) => nearest_m * (farthest_m / nearest_m) ** (code / 4095));
    return this.depths;
  }

  forget() { this.points = null; }

  // Turn about the world's vertical, then about the image's horizontal, around the scene's middle.
  matrix() {
    const [ux, uy, uz] = this.up, c = Math.cos(this.yaw), s = Math.sin(this.yaw), k = 1 - c;
    const yaw = [
      c + ux * ux * k, ux * uy * k - uz * s, ux * uz * k + uy * s,
      uy * ux * k + uz * s, c + uy * uy * k, uy * uz * k - ux * s,
      uz * ux * k - uy * s, uz * uy * k + ux * s, c + uz * uz * k];
    const p = Math.cos(this.pitch), q = Math.sin(this.pitch);
    return [yaw[0], yaw[1], yaw[2],
      p * yaw[3] - q * yaw[6], p * yaw[4] - q * yaw[7], p * yaw[5] - q * yaw[8],
      q * yaw[3] + p * yaw[6], q * yaw[4] + p * yaw[7], q * yaw[5] + p * yaw[8]];
  }

  draw() {
    if (!this.points) return;
    const { canvas, points, colours } = this, size = canvas.width, context = canvas.getContext("2d");
    const picture = context.createImageData(size, size), pixels = new Uint32Array(picture.data.buffer);
    const nearest = new Float32Array(size * size).fill(1e9), m = this.matrix();
    pixels.fill(0xff0a0705);
    const distance = -this.centre, focal = size * FIELD * this.zoom;
    for (let i = 0, n = points.length / 3; i < n; i++) {
      const x = points[3 * i], y = points[3 * i + 1], z = points[3 * i + 2] - this.centre;
      const depth = distance * 1.05 - (m[6] * x + m[7] * y + m[8] * z);
      if (depth < 0.05) continue;
      const u = Math.round(size / 2 + focal * (m[0] * x + m[1] * y + m[2] * z) / depth);
      const v = Math.round(size / 2 - focal * (m[3] * x + m[4] * y + m[5] * z) / depth);
      const colour = 0xff000000 | colours[3 * i + 2] << 16 | colours[3 * i + 1] << 8 | colours[3 * i];
      const spread = this.zoom > 1.6 ? 2 : 1;
      for (let dv = -1; dv <= spread; dv++) for (let du = -1; du <= spread; du++) {
        const a = u + du, b = v + dv, at = b * size + a;
        if (a < 0 || b < 0 || a >= size || b >= size || depth >= nearest[at]) continue;
        nearest[at] = depth; pixels[at] = colour;
      }
    }
    context.putImageData(picture, 0, 0);
  }
}
