/**
 * The model runs here, beside the page, so that drawing and keys never wait for it.
 *
 * Messages in: {id, call, ...arguments}; out: {id, result} or {id, error}, and {progress: bytes}.
 */
import { World, fetchBytes } from "./world.js";

const RUNTIME = "./onnxruntime-web";
const RUNTIMES = {
  wasm: { module: "ort.wasm.bundle.min.mjs", binary: "ort-wasm-simd-threaded.wasm.gz" },
  webgpu: {
    module: "ort.webgpu.bundle.min.mjs",
    binary: "ort-wasm-simd-threaded.asyncify.wasm.gz",
  },
};
/** A GPU driver that returns other tokens than this share is not used. */
const TOKENS_EQUAL = 0.95;
/** A first frame may compile shaders; the one after must keep the model's rate. */
const WARM_STEPS = 2;

let world = null;
let starts = [];

/** Why there is no WebGPU here; null where there is. */
async function noGpu() {
  if (!self.navigator.gpu) return "this browser has no WebGPU";
  const adapter = await self.navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return "no WebGPU adapter was found";
  if (adapter.info?.isFallbackAdapter) return "the WebGPU adapter is software";
  return null;
}

async function open(backend) {
  const progress = (bytes) => self.postMessage({ progress: bytes });
  const { module, binary } = RUNTIMES[backend];
  const [ort, wasm] = await Promise.all([
    import(`${RUNTIME}/${module}`),
    fetchBytes(new URL(`${RUNTIME}/${binary}`, import.meta.url), progress),
  ]);
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  return World.load(ort, new URL("model", import.meta.url).href, {
    providers: backend === "webgpu" ? ["webgpu", "wasm"] : ["wasm"],
    onBytes: progress,
    names: ["controls", "world_model", "decode"],
    suffix: ".gz",
  });
}

/** Refuse a backend that returns other tokens than the exporter's, or is too slow to drive. */
async function check(candidate, page) {
  const { start, actions, codes } = page.check;
  candidate.begin(starts[start]);
  let equal = 0;
  for (let frame = 0; frame < codes.length; frame++) {
    const found = (await candidate.step(Float32Array.from(actions[frame].flat()))).codes;
    equal += codes[frame].reduce((sum, code, i) => sum + (code === found[i]), 0);
  }
  const share = equal / codes.flat().length;
  if (share < TOKENS_EQUAL) throw new Error(`${Math.round(100 * share)} % of the tokens are right`);
  const begin = performance.now();
  for (let step = 0; step < WARM_STEPS; step++)
    await candidate.step(new Float32Array(actions[0].flat().length));
  const stepMs = (performance.now() - begin) / WARM_STEPS;
  const limitMs = 1000 / candidate.manifest.frame_hz;
  if (stepMs > limitMs) throw new Error(`a frame takes ${Math.round(stepMs)} ms`);
}

async function loadStarts(page) {
  return Promise.all(
    page.starts.map(async (start) => {
      const bytes = await fetchBytes(new URL(start.file, import.meta.url));
      const pixels = page.height * page.width;
      const rgb = bytes.slice(0, 3 * pixels);
      const stored = new Uint16Array(bytes.slice(3 * pixels).buffer);
      const depth_m = stored.length
        ? Float32Array.from(stored, (units) => units * page.depth_unit_m)
        : undefined;
      const arm = {};
      for (const [name, values] of Object.entries(start.arm))
        arm[name] = name === "moved" ? Float64Array.from(values) : Float32Array.from(values);
      return { ...start, rgb, depth_m, arm, codes: Int32Array.from(start.codes) };
    }),
  );
}

function shown(frame) {
  const { rgb, depth_m, confidence, codes, arm } = frame;
  return {
    rgb: Uint8Array.from(rgb),
    depth_m: depth_m && Float32Array.from(depth_m),
    confidence: Float32Array.from(confidence),
    codes: Int32Array.from(codes),
    state: Array.from(arm.state),
    position: world.position,
    oldest: world.oldest,
  };
}

const calls = {
  /** Load runtime, model and starts; `backend` is auto, wasm or webgpu. */
  async load({ backend }) {
    const page = JSON.parse(
      new TextDecoder().decode(await fetchBytes(new URL("page.json", import.meta.url))),
    );
    starts = await loadStarts(page);
    let reason = backend === "wasm" ? "" : await noGpu();
    if (backend === "webgpu" && reason === "the WebGPU adapter is software") reason = null;
    let used = "wasm";
    if (reason === null) {
      try {
        world = await open("webgpu");
        await check(world, page);
        used = "webgpu";
      } catch (error) {
        reason = `WebGPU was tried: ${error.message}`;
        world = null;
      }
    }
    world ??= await open("wasm");
    return {
      page,
      manifest: world.manifest,
      backend: used,
      reason,
      starts: starts.map(({ rgb }) => rgb),
    };
  },
  async reset({ start, seed }) {
    const chosen = starts[start];
    return shown(world.begin({ ...chosen, seed: seed ?? chosen.seed }));
  },
  async step({ actions, temperature }) {
    world.temperature = temperature;
    const begin = performance.now();
    const frame = await world.step(Float32Array.from(actions));
    return { ...shown(frame), step_ms: performance.now() - begin };
  },
  async rewind({ frame }) {
    return shown(world.rewind(frame));
  },
  /** Pictures of all kept frames' positions, for the time line. */
  async peek({ frame }) {
    const kept = world.frames[frame - world.firstKept];
    return { ...shown(kept), position: frame };
  },
};

// One after the other: a step must not begin before the last one has ended.
let last = Promise.resolve();
self.onmessage = ({ data: { id, call, ...rest } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: await calls[call](rest) });
    } catch (error) {
      self.postMessage({ id, error: error.message ?? String(error) });
    }
  });
};
