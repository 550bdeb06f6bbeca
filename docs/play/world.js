/**
 * A world that exported files imagine, one frame a call; the browser's counterpart of `runtime.py`.
 *
 * Needs the module onnxruntime-web, nothing else. Axes as in the manifest: m modality (0 RGB,
 * 1 depth), n token, f factor of a token, s value of a factor, t slot of the memory.
 */

/** Frames that can be gone back to; each keeps half a megabyte of keys and values. */
export const KEPT_FRAMES = 120;

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  uint8: Uint8Array,
};

/** Bytes of a file; unpacked where they are gzip's and the server did not say so. */
export async function fetchBytes(url, onBytes = () => {}) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status}`);
  const reader = response.body.getReader();
  const parts = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    onBytes(value.length);
  }
  const blob = new Blob(parts);
  const magic = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) return new Uint8Array(await blob.arrayBuffer());
  const unpacked = blob.stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

/** A generator of numbers in [0, 1) that follows from a seed (xorshift32, Marsaglia 2003). */
export function randomNumbers(seed) {
  let state = (seed * 2654435761 + 88675123) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return (state + 0.5) / 4294967296;
  };
}

/**
 * Tokens drawn from softmax(logits / temperature), and the probability of each at temperature 1.
 *
 * The largest of Gumbel-perturbed logits is a draw from their softmax. Factors hold consecutive
 * bits of a code, the lowest first.
 */
export function drawTokens(logits, { factors, size, temperature, random }) {
  const tokens = logits.length / (factors * size);
  const bits = Math.log2(size);
  const codes = new Int32Array(tokens);
  const confidence = new Float32Array(tokens);
  for (let token = 0; token < tokens; token++) {
    let code = 0;
    let logProbability = 0;
    for (let factor = 0; factor < factors; factor++) {
      const first = (token * factors + factor) * size;
      let best = 0;
      let bestScore = -Infinity;
      let largest = -Infinity;
      for (let value = 0; value < size; value++) {
        const logit = logits[first + value];
        const score = logit / temperature - Math.log(-Math.log(random()));
        if (score > bestScore) [best, bestScore] = [value, score];
        if (logit > largest) largest = logit;
      }
      let sum = 0;
      for (let value = 0; value < size; value++) sum += Math.exp(logits[first + value] - largest);
      logProbability += logits[first + best] - largest - Math.log(sum);
      code |= best << (bits * factor);
    }
    codes[token] = code;
    confidence[token] = Math.exp(logProbability);
  }
  return { codes, confidence };
}

/** Code vectors in -1 and +1: bit j of a code says the sign of dimension j. */
export function vectorsOf(codes, bits) {
  const vectors = new Float32Array(codes.length * bits);
  for (let i = 0; i < codes.length; i++)
    for (let bit = 0; bit < bits; bit++) vectors[i * bits + bit] = (codes[i] >> bit) & 1 ? 1 : -1;
  return vectors;
}

export class World {
  /** Use graphs that were loaded; `World.load` does both. */
  constructor(ort, manifest, sessions) {
    this.ort = ort;
    this.manifest = manifest;
    this.sessions = sessions;
    this.temperature = 0;
    this.frames = [];
    this.firstKept = 0;
    const past = this.input("world_model", "past_keys");
    const length = past.shape.reduce((a, b) => a * b, 1);
    [this.slots, this.headSize] = past.shape.slice(-2);
    this.keys = new Float32Array(length);
    this.values = new Float32Array(length);
  }

  /**
   * Load a folder's manifest and graphs.
   *
   * `providers` as ONNX Runtime names them; `names` of the graphs, all where not given; `suffix` of
   * their files, such as ".gz".
   */
  static async load(ort, base, { providers, onBytes, names, suffix = "" } = {}) {
    const manifest = JSON.parse(new TextDecoder().decode(await fetchBytes(`${base}/manifest.json`)));
    names ??= Object.keys(manifest.graphs);
    const files = await Promise.all(
      names.map((name) => fetchBytes(`${base}/${manifest.graphs[name].file}${suffix}`, onBytes)),
    );
    const sessions = {};
    for (const [i, name] of names.entries())
      sessions[name] = await ort.InferenceSession.create(files[i], {
        executionProviders: providers ?? ["wasm"],
        graphOptimizationLevel: "all",
        logSeverityLevel: 3,
      });
    return new World(ort, manifest, sessions);
  }

  /** The description of one input of a graph. */
  input(graph, name) {
    return this.manifest.graphs[graph].inputs.find((one) => one.name === name);
  }

  /** One graph's outputs by name, as plain arrays; of `values` it takes those that it reads. */
  async call(graph, values) {
    const feeds = {};
    for (const { name, dtype, shape } of this.manifest.graphs[graph].inputs) {
      const value = values[name];
      const Kind = ARRAYS[dtype];
      const data = value instanceof Kind ? value : Kind.from(value);
      feeds[name] = new this.ort.Tensor(dtype, data, shape);
    }
    const results = await this.sessions[graph].run(feeds);
    const found = {};
    for (const { name } of this.manifest.graphs[graph].outputs) {
      found[name] = await results[name].getData();
      results[name].dispose();
    }
    return found;
  }

  /** Frames since the start. */
  get position() {
    return this.firstKept + this.frames.length - 1;
  }

  /** The newest frame. */
  get newest() {
    return this.frames[this.frames.length - 1];
  }

  /** The first frame that can be gone back to. */
  get oldest() {
    return Math.max(0, this.position - KEPT_FRAMES);
  }

  /**
   * Begin at a given frame: `rgb` bytes (h w 3), `depth_m` metres (h w), `state` (and
   * `state_before` for an arm that moves), `task` one of the manifest's texts, `seed` of draws.
   */
  async reset({ rgb, depth_m, state, state_before, task, seed }) {
    const { codes } = await this.call("encode", { rgb, depth_m });
    let arm = { state: Float32Array.from(state) };
    if (this.sessions.controls_start) {
      const before = state_before ?? state;
      const begun = await this.call("controls_start", { state, state_before: before, codes });
      arm = { ...arm, ...begun };
    } else arm.moved = new Float64Array(this.manifest.action.names.length);
    return this.begin({ rgb, depth_m, codes, arm, task, seed });
  }

  /** The same with the frame's tokens, and with what `controls` reads besides actions. */
  begin({ rgb, depth_m, codes, arm, task = "", seed = 0 }) {
    this.task = this.manifest.tasks[task];
    this.given = { given_codes: codes, given_rgb: rgb, given_depth_m: depth_m };
    this.random = randomNumbers(seed);
    this.firstKept = 0;
    this.frames = [
      { codes, rgb, depth_m, arm, confidence: new Float32Array(codes.length).fill(1) },
    ];
    return this.newest;
  }

  /** Imagine the frame that native actions (stride × numbers, stored units) lead to. */
  async step(actions) {
    const now = this.newest;
    const position = this.position;
    const { control, ...after } = await this.call("controls", {
      ...now.arm,
      task: this.task,
      actions,
    });
    const tokens = await this.call("world_model", {
      previous_codes: now.codes,
      given_codes: this.given.given_codes,
      control,
      position: [position],
      past_keys: this.keys,
      past_values: this.values,
    });
    if (this.temperature > 0) this.draw(tokens);
    const pixels = await this.call("decode", { ...tokens, ...this.given });
    const arm = { ...now.arm };
    for (const [name, value] of Object.entries(after)) arm[name.replace(/_after$/, "")] = value;
    this.frames.push({
      codes: tokens.codes,
      rgb: pixels.rgb,
      depth_m: pixels.depth_m,
      confidence: tokens.confidence,
      arm,
      keys: tokens.new_keys,
      values: tokens.new_values,
    });
    this.write(position, this.newest);
    const surplus = this.frames.length - 1 - KEPT_FRAMES - this.slots;
    if (surplus > 0) {
      this.frames.splice(0, surplus);
      this.firstKept += surplus;
    }
    return this.newest;
  }

  /** Replace the likeliest tokens by drawn ones. */
  draw(tokens) {
    const { factors, code_bits: bits, soft_codes: soft } = this.manifest;
    const drawn = drawTokens(tokens.logits, {
      factors,
      size: 2 ** (bits / factors),
      temperature: this.temperature,
      random: this.random,
    });
    Object.assign(tokens, drawn);
    if (soft) return; // The decoder shows the whole distribution, whatever was drawn.
    tokens.vectors = vectorsOf(drawn.codes, bits);
    tokens.unchanged = Float32Array.from(drawn.codes, (code, i) =>
      code === this.given.given_codes[i] ? 1 : 0,
    );
  }

  /** Go back to a frame between `oldest` and `position`; later ones are forgotten. */
  rewind(frame) {
    if (!(frame >= this.oldest && frame <= this.position))
      throw new Error(`frame ${frame} is not kept: ${this.oldest} to ${this.position} are`);
    this.frames.length = frame - this.firstKept + 1;
    for (let step = Math.max(0, frame - this.slots); step < frame; step++)
      this.write(step, this.frames[step + 1 - this.firstKept]);
    return this.newest;
  }

  /** Put a step's keys and values, which its frame keeps, into their slot. */
  write(step, frame) {
    const slot = step % this.slots;
    for (const part of ["keys", "values"]) {
      const [memory, added] = [this[part], frame[part]];
      for (let from = 0; from < added.length; from += this.headSize) {
        const row = added.subarray(from, from + this.headSize);
        memory.set(row, from * this.slots + slot * this.headSize);
      }
    }
  }
}
