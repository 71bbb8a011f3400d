"""Turn trained models into portable scorers, and prove that the two are equal."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from serving.graphs import ONNX_FILE
from serving.scorer import PortableScorer
from steps.pipeline.errors import ExportError
from steps.pipeline.evaluation import Floats, ks
from steps.pipeline.splits import Part

# The one tolerance: the largest difference between the scores of a model and of its export,
# on any validation row. All graphs compute in float64 and stay far below.
SCORE_TOLERANCE = 1e-9
# The order of a sum may make or break a tie in its last digit. That moves KS by one negative in
# all of them, 2e-5 here; one positive that changed sides would move it by 2e-2.
KS_TOLERANCE = 1e-4
ROWS_ALONE = 200


@dataclass(frozen=True)
class Proof:
    """The `scores` of an export on the validation split, and how far the model's are from them."""

    scores: Floats
    largest_difference: float
    ks_difference: float
    rows_alone: int
    rows_that_differ_alone: int

    @property
    def failures(self) -> list[str]:
        """What is not equal, in words; empty if the export is proven."""
        failures = []
        if not self.largest_difference <= SCORE_TOLERANCE:  # also if it is not a number
            failures.append(f"scores differ by up to {self.largest_difference:.2g}")
        if not self.ks_difference <= KS_TOLERANCE:
            failures.append(f"KS differs by {self.ks_difference:.2g}")
        if self.rows_that_differ_alone:
            failures.append(
                f"{self.rows_that_differ_alone} of {self.rows_alone} rows score otherwise alone"
            )
        return failures


def prove(scorer: PortableScorer, native_scores: Floats, validation: Part) -> Proof:
    """Compare an export with the scores that its model gave to the whole validation split.

    The first rows are also scored one by one: a row must score the same alone and in a batch.
    """
    scores = scorer.score(validation.frame)
    first = validation.frame.head(ROWS_ALONE)
    alone = np.concatenate([scorer.score(first.iloc[[row]]) for row in range(len(first))])
    return Proof(
        scores=scores,
        largest_difference=float(np.max(np.abs(scores - native_scores))),
        ks_difference=abs(ks(validation.y, scores) - ks(validation.y, native_scores)),
        rows_alone=len(first),
        rows_that_differ_alone=int(np.sum(scores[: len(first)] != alone)),
    )


def linear_graph(coefficients: Floats, intercept: float) -> onnx.ModelProto:
    """Return the graph of a linear function that gives log-odds.

    Args:
        coefficients: shape (n_features,).
        intercept: what is added.
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
    """Write `classifier` with its preprocessing in front of it.

    Args:
        classifier: input (n_rows, n_features), float64, and an output as `serving.graphs`
            reads it.
        folder: where `model.onnx` goes.
        n_features: the number of features.
        fill: what replaces a missing value, shape (n_features,), or None.
        mean: what is subtracted, shape (n_features,), or None.
        scale: what is divided by afterwards, shape (n_features,), or None.

    Raises:
        ExportError: ONNX refuses the graph.
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
        raise ExportError(f"not a usable ONNX graph: {error}") from error
    onnx.save(model, folder / ONNX_FILE)


def _preprocessing(
    n_features: int, fill: Floats | None, mean: Floats | None, scale: Floats | None
) -> onnx.ModelProto:
    """Return the float64 graph from `features` to `prepared`."""
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
