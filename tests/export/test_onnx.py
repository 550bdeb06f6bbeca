"""Exported files imagine what the learned simulator imagines."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.core.files import read_json, sha256_of
from roboscape.core.pretrained import BUNDLED, WEIGHTS
from roboscape.export.manifest import MANIFEST
from roboscape.export.onnx import ExportOnnx, run
from roboscape.export.onnx_file import LARGE, halve_weights
from roboscape.export.parts import graphs_of
from roboscape.export.runtime import ExportedWorlds
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.starts import TrueStarts
from roboscape.world_model.model import WorldModel
from tests.export.conftest import KINDS

STEPS = 20
"""More than the four slots of these models' memory, several times over."""


def actions_of(worlds, *, steps=STEPS):
    shape = (steps, worlds.batch, 2, 3)
    return np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_exported_files_imagine_the_same_tokens_pixels_and_states(export, kind):
    exported = export(kind)
    simulator, worlds = exported.both()
    np.testing.assert_array_equal(worlds.state.codes, simulator.tokens.numpy())
    seen = []
    for actions in actions_of(simulator):
        true, found = simulator.step(actions), worlds.step(actions)
        np.testing.assert_array_equal(found.codes, simulator.tokens.numpy())
        rgb = np.concatenate(list(true.rgb.values()), axis=1)
        assert np.abs(found.rgb.astype(int) - rgb.astype(int)).max() <= 1
        if true.depth_m:
            depth_m = np.concatenate(list(true.depth_m.values()), axis=1)
            np.testing.assert_allclose(found.depth_m, depth_m, rtol=1e-4)
        confidence = np.concatenate(list(true.confidence.values()), axis=1)
        np.testing.assert_allclose(
            found.confidence[0], confidence.reshape(len(confidence), -1), atol=1e-5
        )
        if true.state.size:
            np.testing.assert_allclose(found.state, true.state, rtol=1e-5, atol=1e-5)
        seen.append(found.codes)
    changes = [(a != b).mean() for a, b in pairwise(seen)]
    assert np.mean(changes) > 0.2, "a still world would prove nothing"


def test_a_state_that_is_assigned_again_has_the_same_future(export):
    _, worlds = export("arm").both()
    actions = actions_of(export("arm"), steps=12)
    for action in actions[:6]:
        worlds.step(action)
    kept = worlds.state
    first = [worlds.step(action).codes for action in actions[6:]]
    worlds.state = kept
    again = [worlds.step(action).codes for action in actions[6:]]
    np.testing.assert_array_equal(first, again)


def test_half_the_bits_are_the_rounded_weights_and_imagine_nearly_the_same(export, tmp_path):
    onnx = pytest.importorskip("onnx")
    exported = export("arm")
    half = shutil.copytree(exported.folder, tmp_path / "half")
    for name in ("world_model", "decode"):
        model = onnx.load(half / f"{name}.onnx")
        exact = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
        halve_weights(model)
        stored = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
        for weight, value in exact.items():
            if value.dtype == np.float32 and value.size >= LARGE:
                np.testing.assert_array_equal(stored[weight + ".half"], np.float16(value))
            else:
                np.testing.assert_array_equal(stored[weight], value)
        onnx.save(model, half / f"{name}.onnx")
        assert (half / f"{name}.onnx").stat().st_size < 0.8 * (
            exported.folder / f"{name}.onnx"
        ).stat().st_size
    simulator, _ = exported.both()
    worlds = replace(exported, folder=half).both()[1]
    equal = []
    for actions in actions_of(simulator, steps=4):
        simulator.step(actions)
        equal.append((worlds.step(actions).codes == simulator.tokens.numpy()).mean())
    assert np.mean(equal) > 0.9, equal


def test_graphs_that_make_codes_and_controls_keep_all_bits(export):
    exact = {graph.name for graph in graphs_of(export("arm").bundle, batch=1) if graph.exact}
    assert exact == {"encode", "controls", "controls_start"}


def test_weights_beyond_the_range_of_sixteen_bits_are_refused(export):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(export("arm").folder / "decode.onnx")
    weight = next(w for w in model.graph.initializer if np.prod(w.dims) >= LARGE)
    huge = np.full(tuple(weight.dims), 1e6, np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(huge, weight.name))
    with pytest.raises(UserError, match="--no-half"):
        halve_weights(model)


def test_the_manifest_says_what_the_files_take_and_give(export):
    onnxruntime = pytest.importorskip("onnxruntime")
    exported = export("arm")
    manifest = json.loads((exported.folder / "manifest.json").read_text())
    assert {path.name for path in exported.folder.iterdir()} == {
        "manifest.json",
        *(graph["file"] for graph in manifest["graphs"].values()),
    }
    for graph in manifest["graphs"].values():
        path = exported.folder / graph["file"]
        assert graph["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert [one.name for one in session.get_inputs()] == [i["name"] for i in graph["inputs"]]
        inputs = {i["name"]: np.ones(i["shape"], i["dtype"]) for i in graph["inputs"]}
        outputs = session.run([o["name"] for o in graph["outputs"]], inputs)
        for found, said in zip(outputs, graph["outputs"], strict=True):
            assert (list(found.shape), str(found.dtype)) == (said["shape"], said["dtype"])
    statistics = exported.bundle.controls.statistics
    assert manifest["control_mean"] == list(statistics.mean)
    assert manifest["action"]["names"] == list(statistics.convention.names)
    assert manifest["frame_hz"] == 10.0
    weights = (exported.checkpoint / "world_model" / "model.safetensors").read_bytes()
    said = manifest["provenance"]["weights_sha256"]["world_model/model.safetensors"]
    assert said == hashlib.sha256(weights).hexdigest()


def test_exported_files_do_not_say_where_they_were_made(export):
    folder = export("arm").folder
    for path in folder.iterdir():
        content = path.read_bytes()
        assert b".py" not in content and str(Path.home()).encode() not in content, path


def test_exported_files_run_without_torch(export):
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from roboscape.export.runtime import ExportedWorlds\n"
        f"worlds = ExportedWorlds(Path({str(export('commands').folder)!r}))\n"
        "worlds.reset(rgb=np.zeros((1, 64, 64, 3), np.uint8), state=np.zeros((1, 2), np.float32))\n"
        "print(worlds.step(np.ones((1, 2, 3))).rgb.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 64, 64, 3)", done.stderr


def test_what_cannot_be_exported_is_refused_with_what_to_do(export, tmp_path):
    exported = export("arm")
    bundle = exported.bundle
    masked = replace(bundle.world_model.config, objective="masked")
    with pytest.raises(UserError, match="next_frame"):
        graphs_of(replace(bundle, world_model=WorldModel(masked)), batch=1)
    with pytest.raises(UserError, match="one world or more"):
        graphs_of(bundle, batch=0)
    config = ExportOnnx(checkpoint=str(exported.checkpoint), output=tmp_path / "new")
    with pytest.raises(UserError, match="leave --tasks out"):
        run(replace(config, tasks=("dance",)))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match="something else"):
        run(replace(config, output=tmp_path / "precious"))
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"


def test_a_client_that_is_used_wrongly_says_so(export, tmp_path):
    with pytest.raises(UserError, match="no manifest"):
        ExportedWorlds(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "roboscape-onnx", "format_version": 99}')
    with pytest.raises(UserError, match="version 1"):
        ExportedWorlds(tmp_path)
    worlds = ExportedWorlds(export("commands").folder)
    with pytest.raises(UserError, match="call `reset` first"):
        worlds.step(np.zeros((1, 2, 3), np.float32))
    with pytest.raises(UserError, match="--tasks"):
        worlds.reset(
            rgb=np.zeros((1, 64, 64, 3), np.uint8),
            state=np.zeros((1, 2), np.float32),
            task="dance",
        )


def test_the_documented_client_imagines_the_same(export, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (client,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exported = export("arm")
    (tmp_path / "exported").symlink_to(exported.folder)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(client, "docs/export.md", "exec"), names)
    worlds = ExportedWorlds(exported.folder)
    worlds.reset(
        rgb=np.full((1, 64, 64, 3), 128, np.uint8),
        depth_m=np.ones((1, 64, 64), np.float32),
        state=np.zeros((1, 2), np.float32),
    )
    for _ in range(10):
        frame = worlds.step(np.zeros((1, 2, 3), np.float32))
    np.testing.assert_array_equal(names["codes"], frame.codes)
    np.testing.assert_array_equal(names["frame"]["rgb"], frame.rgb)


@pytest.mark.slow
@pytest.mark.parametrize("half", [True, False])
def test_the_bundled_model_is_exported_without_loss(tmp_path, half):
    starts = TrueStarts("Lift", cameras=("agentview",), image_size=128)
    start = starts(910_001)
    starts.close()
    folder = run(ExportOnnx(checkpoint="lift", output=tmp_path / "lift", half=half))
    bundle = Bundle.from_pretrained("lift").for_imagining(Compute(device="cpu", precision="fp32"))
    simulator, worlds = LearnedSimulator(bundle), ExportedWorlds(folder)
    simulator.reset([start])
    worlds.reset(
        rgb=start.rgb["agentview"][None],
        depth_m=start.depth_m["agentview"][None].astype(np.float32),
        state=np.float32(start.state)[None],
    )
    equal = []
    for actions in np.random.default_rng(1).uniform(-0.5, 0.5, (20, 1, 4, 7)).astype(np.float32):
        true, found = simulator.step(actions), worlds.step(actions)
        equal.append((found.codes == simulator.tokens.numpy()).mean())
        assert np.abs(found.rgb.astype(int) - true.rgb["agentview"].astype(int)).max() <= 1
    assert equal == [1.0] * 20


def test_another_decoder_shows_the_same_codes_and_a_tokenizer_of_other_codes_is_refused(tmp_path):
    bundle = Bundle.from_pretrained("lift")
    light = bundle.with_decoder("lift-light-decoder")
    images = torch.rand(1, 3, 128, 128) * 2 - 1
    codes = bundle.tokenizer.encode(images)
    assert torch.equal(light.tokenizer.encode(images), codes)
    shown, own = light.tokenizer.decode(codes), bundle.tokenizer.decode(codes)
    assert not torch.equal(shown, own)
    assert light.world_model is bundle.world_model
    with pytest.raises(UserError, match="decoder of this bundle's codes"):
        bundle.with_decoder("metaworld/tokenizer")
    run(ExportOnnx(decoder="lift-light-decoder", output=tmp_path / "light"))
    hashes = read_json(tmp_path / "light" / MANIFEST)["provenance"]["weights_sha256"]
    light_file = BUNDLED / "lift-light-decoder" / WEIGHTS
    assert hashes[f"tokenizer/{WEIGHTS}"] == sha256_of(light_file)
    assert hashes[f"world_model/{WEIGHTS}"] == sha256_of(BUNDLED / "lift" / "world_model" / WEIGHTS)
