"""ONNX graphs of linear models and of the preprocessing in front of any classifier."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from serving.model.runtimes import ONNX_FILE
from steps.evaluation.metrics import Floats
from steps.runtime.errors import ExportError


def linear_graph(coefficients: Floats, intercept: float) -> onnx.ModelProto:
    """Return the graph of a linear model, from `rows` to `log_odds`.

    Args:
        coefficients: shape (n_features,).
        intercept: added to the product.
    """
    constants = {"coefficients": coefficients.reshape(-1, 1), "intercept": np.array([intercept])}
    double = TensorProto.DOUBLE
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["rows", "coefficients"], ["product"]),
            helper.make_node("Add", ["product", "intercept"], ["log_odds"]),
        ],
        "linear",
        [helper.make_tensor_value_info("rows", double, [None, len(coefficients)])],
        [helper.make_tensor_value_info("log_odds", double, [None, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def write_onnx(
    classifier: onnx.ModelProto,
    folder: Path,
    n_features: int,
    fill: Floats | None = None,
    mean: Floats | None = None,
    scale: Floats | None = None,
) -> None:
    """Write `classifier`, with its preprocessing in front, as `model.onnx`.

    Args:
        classifier: a graph with one float64 input, shape (n_rows, n_features), and an output
            that `serving.model.runtimes` can read.
        folder: the folder to write into.
        n_features: the number of features.
        fill: replacements of missing values, shape (n_features,); None to leave them.
        mean: subtracted from the features, shape (n_features,); None for no centring.
        scale: divisors after centring, shape (n_features,); None for no scaling.

    Raises:
        ExportError: the merged graph is invalid.
    """
    (entry,) = classifier.graph.input
    preprocessing = _preprocessing(n_features, fill, mean, scale)
    preprocessing.ir_version = classifier.ir_version
    del preprocessing.opset_import[:]
    preprocessing.opset_import.extend(classifier.opset_import)
    try:
        model = compose.merge_models(
            preprocessing,
            classifier,
            io_map=[("prepared", entry.name)],
            outputs=[classifier.graph.output[-1].name],
            prefix1="preprocessing_",
        )
        onnx.checker.check_model(model)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"invalid ONNX graph: {error}") from error
    onnx.save(model, folder / ONNX_FILE)


def _preprocessing(
    n_features: int, fill: Floats | None, mean: Floats | None, scale: Floats | None
) -> onnx.ModelProto:
    """Return the float64 graph from `features` to `prepared`: fill, centre, scale."""
    nodes, constants, value = [], [], "features"

    def constant(name: str, content: Floats) -> str:
        constants.append(numpy_helper.from_array(np.asarray(content, np.float64), name))
        return name

    if fill is not None:
        nodes.append(helper.make_node("IsNaN", [value], ["missing"]))
        nodes.append(
            helper.make_node("Where", ["missing", constant("fill", fill), value], ["filled"])
        )
        value = "filled"
    if mean is not None:
        nodes.append(helper.make_node("Sub", [value, constant("mean", mean)], ["centred"]))
        value = "centred"
    if scale is not None:
        nodes.append(helper.make_node("Div", [value, constant("scale", scale)], ["scaled"]))
        value = "scaled"
    nodes.append(helper.make_node("Identity", [value], ["prepared"]))
    shape = (TensorProto.DOUBLE, [None, n_features])
    graph = helper.make_graph(
        nodes,
        "preprocessing",
        [helper.make_tensor_value_info("features", *shape)],
        [helper.make_tensor_value_info("prepared", *shape)],
        constants,
    )
    return helper.make_model(graph)
