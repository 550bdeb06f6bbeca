"""A module as an ONNX file, its large weights stored with 16 bits where asked for."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path
from roboscape.export.parts import Graph

OPSET = 20
"""Version of ONNX's operators; ONNX Runtime 1.17 and newer run it."""
LARGE = 256
"""Tensors with fewer numbers keep 32 bits: they weigh nothing."""


def optional_package(name: str) -> Any:
    """A package of the extra `export`.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"expected the package {name}, which is not installed ({error}); install what export "
            "needs: pip install 'roboscape[export]'"
        ) from error


def write_graph(graph: Graph, path: Path, *, half: bool) -> None:
    """Write one graph, whole or not at all.

    Args:
        graph: What is written.
        path: The file, ending in `.onnx`.
        half: Store large weights as 16-bit floats. Those of an exact graph keep 32 bits.

    Raises:
        ValueError: a package of the extra `export` is missing.
    """
    model = translated(graph)
    if half and not graph.exact:
        halve_weights(model)
    onnx = optional_package("onnx")
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        onnx.save(model, temporary)


def translated(graph: Graph) -> Any:
    """The graph as an ONNX model, weights with 32 bits."""
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            custom_translation_table=translations(),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    forget_origin(model.graph)
    return model


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operators that the exporter translates badly, or not at all.

    Shifts and masks of codes, which are not negative where they are split, become divisions and
    remainders by powers of two. Sums of table entries become one look-up and one sum, for all bags
    here are of one size; the exporter's own form is a loop over bags, five times a step's time.
    """
    onnxscript = optional_package("onnxscript")
    op, ir = onnxscript.opset20, onnxscript.ir

    int64 = ir.DataType.INT64

    def power_of_two(exponent: Any) -> Any:
        two = op.Constant(value=ir.tensor([2], dtype=int64))
        return op.Pow(two, op.Cast(exponent, to=int64))

    # Counts of bits are 64-bit tensors, to which torch raises what is shifted.
    def shift_right(value: Any, count: Any) -> Any:
        return op.Div(op.Cast(value, to=int64), power_of_two(count))

    def shift_left(value: Any, count: Any) -> Any:
        return op.Mul(op.Cast(value, to=int64), power_of_two(count))

    def lowest_bits(value: Any, mask: int) -> Any:
        return op.Mod(value, op.Constant(value=ir.tensor([mask + 1], dtype=value.dtype)))

    def sums_of_entries(table: Any, entries: Any, first_of_bag: Any, *_: Any) -> Any:
        bags = op.Constant(value=ir.tensor([first_of_bag.shape[0], -1], dtype=ir.DataType.INT64))
        found = op.Gather(table, op.Reshape(entries, bags))
        axis = op.Constant(value=ir.tensor([1], dtype=ir.DataType.INT64))
        # Nothing reads the other three results, so they may be anything; the optimiser drops them.
        unread = (op.Identity(entries) for _ in range(3))
        return op.ReduceSum(found, axis, keepdims=False), *unread

    aten = torch.ops.aten
    return {
        aten.__rshift__.Tensor: shift_right,
        aten.__lshift__.Tensor: shift_left,
        aten.__and__.Scalar: lowest_bits,
        aten.embedding_bag.padding_idx: sums_of_entries,
    }


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without the exporter's many notes; its errors are exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def forget_origin(graph: Any) -> None:
    """Remove what tells on which machine, from which lines, a graph was made; it is large too."""
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:]
    graph.doc_string = ""


def halve_weights(model: Any) -> None:
    """Store large 32-bit tensors with 16 bits, each turned back by a `Cast` before it is read.

    A runtime folds these casts when it loads the file, so that a step costs nothing more.

    Raises:
        ValueError: a number beyond the range of 16-bit floats.
    """
    onnx, graph, casts = optional_package("onnx"), model.graph, []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < LARGE:
            continue
        exact, name = onnx.numpy_helper.to_array(weight), weight.name
        half = exact.astype(np.float16)
        if not np.isfinite(half).all():
            raise UserError(
                f"expected weights within the range of 16-bit floats, `{name}` has "
                f"{np.abs(exact).max():g}; export with 32 bits (--no-half)"
            )
        weight.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
