"""Turn trained models into portable scorers, and prove that the two are equal."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.linear_model import LogisticRegression

from serving.graphs import ONNX_FILE
from serving.scorer import PortableScorer
from steps.pipeline.errors import ExportError
from steps.pipeline.evaluation import Floats, ks
from steps.pipeline.splits import Part

# The one tolerance: the largest difference between the scores of a model and of its export,
# on any validation row. Graphs that compute in float32 need it, float64 ones stay below 1e-12.
SCORE_TOLERANCE = 1e-5
# Scores closer together than float32 can tell become ties, each of which moves KS by one negative
# in all of them: 2e-5 here. One positive that changed sides would move it by 2e-2.
KS_TOLERANCE = 1e-4
ROWS_ALONE = 200

OPSET = {"": 17, "ai.onnx.ml": 3}


@dataclass(frozen=True)
class Proof:
    """How far the scores of an export are from those of its model, on the validation split."""

    largest_difference: float
    ks_difference: float
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
                f"{self.rows_that_differ_alone} of {ROWS_ALONE} rows score otherwise alone"
            )
        return failures


def prove(scorer: PortableScorer, native_scores: Floats, validation: Part) -> Proof:
    """Compare an export with the scores that its model gave to the whole validation split.

    The first rows are also scored one by one: a row must score the same alone and in a batch.
    """
    scores = scorer.score(validation.frame)
    alone = [scorer.score(validation.frame.iloc[[row]])[0] for row in range(ROWS_ALONE)]
    return Proof(
        largest_difference=float(np.max(np.abs(scores - native_scores))),
        ks_difference=abs(ks(validation.y, scores) - ks(validation.y, native_scores)),
        rows_that_differ_alone=int(np.sum(scores[:ROWS_ALONE] != np.array(alone))),
    )


def linear_classifier(coefficients: Floats, intercept: float) -> onnx.ModelProto:
    """Return the float64 graph of the logistic function of a linear one.

    Args:
        coefficients: shape (n_features,).
        intercept: what is added.
    """
    model = LogisticRegression()
    model.coef_ = np.asarray(coefficients, np.float64)[None, :]
    model.intercept_ = np.array([intercept], np.float64)
    model.classes_ = np.array([0, 1])
    entry = DoubleTensorType([None, len(coefficients)])
    return to_onnx(
        model,
        initial_types=[("rows", entry)],
        options={id(model): {"zipmap": False}},
        target_opset=OPSET,
    )


def write_onnx(
    classifier: onnx.ModelProto,
    folder: Path,
    n_features: int,
    fill: Floats | None = None,
    mean: Floats | None = None,
    scale: Floats | None = None,
    output: str = "probabilities",
) -> None:
    """Write `classifier` with its preprocessing in front of it.

    Missing values are filled and features standardised in float64, as scikit-learn and Spark
    do; only then are they rounded, if the classifier computes in float32. Rounding earlier
    would send rows that lie on a tree's threshold the other way.

    Args:
        classifier: one input (n_rows, n_features), an output of shape (n_rows, 2).
        folder: where `model.onnx` goes.
        n_features: the number of features.
        fill: what replaces a missing value, shape (n_features,), or None.
        mean: what is subtracted, shape (n_features,), or None.
        scale: what is divided by afterwards, shape (n_features,), or None.
        output: the name of that output in `classifier`.

    Raises:
        ExportError: the graph has no such output, or ONNX refuses it.
    """
    if not any(domain.domain == "" for domain in classifier.opset_import):
        classifier.opset_import.append(helper.make_opsetid("", OPSET[""]))
    (entry,) = classifier.graph.input
    element = entry.type.tensor_type.elem_type
    preprocessing = _preprocessing(n_features, element, fill, mean, scale)
    preprocessing.ir_version = classifier.ir_version
    del preprocessing.opset_import[:]
    preprocessing.opset_import.extend(classifier.opset_import)
    try:
        model = compose.merge_models(
            preprocessing,
            compose.add_prefix(classifier, "model_"),
            io_map=[("prepared", f"model_{entry.name}")],
            outputs=[f"model_{output}"],
        )
        _rename_output(model, f"model_{output}", "probabilities")
        onnx.checker.check_model(model)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"not a usable ONNX graph: {error}") from error
    onnx.save(model, folder / ONNX_FILE)


def _preprocessing(
    n_features: int,
    element: int,
    fill: Floats | None,
    mean: Floats | None,
    scale: Floats | None,
) -> onnx.ModelProto:
    """Return the graph from `features` (float64) to `prepared` (of type `element`)."""
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
    nodes.append(helper.make_node("Cast", [value], ["prepared"], to=element))
    graph = helper.make_graph(
        nodes,
        "preprocessing",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, n_features])],
        [helper.make_tensor_value_info("prepared", element, [None, n_features])],
        constants,
    )
    return helper.make_model(graph)


def _rename_output(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]
    for output in model.graph.output:
        output.name = new


def restore_thresholds(model: onnx.ModelProto, thresholds: dict[int, Floats]) -> None:
    """Give the tree nodes of `model` back the float64 thresholds that conversion rounded.

    Converters keep thresholds as float32. A model fitted on float64 would then send a row
    between a threshold and its rounding the other way.

    Args:
        model: the converted model, changed in place; its input becomes float64.
        thresholds: the thresholds of the fitted trees, by feature number.
    """
    exact = {
        feature: dict(zip(values.astype(np.float32).tolist(), values.tolist(), strict=True))
        for feature, values in thresholds.items()
    }
    for node in model.graph.node:
        if not node.op_type.startswith("TreeEnsemble"):
            continue
        attributes = {attribute.name: attribute for attribute in node.attribute}
        tree_attributes = ("nodes_featureids", "nodes_modes", "nodes_values")
        features, modes, values = (
            helper.get_attribute_value(attributes[name]) for name in tree_attributes
        )
        restored = [
            value if mode == b"LEAF" else exact[feature].get(value, value)
            for feature, mode, value in zip(features, modes, values, strict=True)
        ]
        for name in ("nodes_values", "class_weights", "base_values", "nodes_hitrates"):
            if name in attributes:
                content = restored if name == "nodes_values" else attributes[name].floats
                tensor = numpy_helper.from_array(np.array(content, np.float64))
                node.attribute.remove(attributes[name])
                node.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    for domain in model.opset_import:  # float64 tensors came with version 3
        if domain.domain == "ai.onnx.ml":
            domain.version = max(domain.version, OPSET["ai.onnx.ml"])
