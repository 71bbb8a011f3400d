"""ONNX graphs of scikit-learn and LightGBM classifiers."""

from typing import Any

import numpy as np
import onnx
from lightgbm import LGBMClassifier
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from steps.export.onnx_graphs import linear_graph
from steps.export.tree_ensembles import Tree, ensemble_graph
from steps.runtime.errors import ExportError


def classifier_graph(classifier: ClassifierMixin, width: int) -> onnx.ModelProto:
    """Return the float64 ONNX graph of a fitted binary classifier.

    Args:
        classifier: Of scikit-learn or LightGBM.
        width: The number of features.

    Raises:
        ExportError: The classifier cannot be converted.
    """
    match classifier:
        case LogisticRegression() | LinearDiscriminantAnalysis():
            return linear_graph(classifier.coef_[0], classifier.intercept_[0])
        case DecisionTreeClassifier():
            return ensemble_graph([_sklearn_tree(classifier)], width, float32_features=True)
        case RandomForestClassifier() | ExtraTreesClassifier():
            trees = [_sklearn_tree(tree) for tree in classifier.estimators_]
            return ensemble_graph(trees, width, scale=1 / len(trees), float32_features=True)
        case HistGradientBoostingClassifier():
            trees = [_hist_tree(tree.nodes) for (tree,) in classifier._predictors]
            base = float(classifier._baseline_prediction.item())
            return ensemble_graph(trees, width, base=base, logistic=True)
        case LGBMClassifier():
            dump = classifier.booster_.dump_model()["tree_info"]
            trees = [_lightgbm_tree(tree["tree_structure"]) for tree in dump]
            return ensemble_graph(trees, width, logistic=True)
    try:
        graph: onnx.ModelProto = to_onnx(
            classifier,
            initial_types=[("rows", DoubleTensorType([None, width]))],
            options={id(classifier): {"zipmap": False}},
            target_opset={"": 17, "ai.onnx.ml": 3},
        )
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise ExportError(f"skl2onnx cannot convert it: {error}") from error
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"skl2onnx converts {type(classifier).__name__} in float32 only; write its graph in "
            "float64, as steps.export.tree_ensembles does for trees"
        ) from error
    return graph


def _sklearn_tree(classifier: Any) -> Tree:
    tree = classifier.tree_
    shares = tree.value[:, 0, :]
    return Tree(
        feature=np.where(tree.children_left < 0, -1, tree.feature),
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        value=shares[:, 1] / shares.sum(axis=1),
    )


def _hist_tree(nodes: Any) -> Tree:
    return Tree(
        feature=np.where(nodes["is_leaf"], -1, nodes["feature_idx"]),
        threshold=nodes["num_threshold"],
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        value=nodes["value"],
    )


def _lightgbm_tree(root: dict[str, Any]) -> Tree:
    """Return LightGBM's nested nodes as arrays, parents before children."""
    nodes: list[tuple[int, float, int, int, float]] = []

    def add(node: dict[str, Any]) -> int:
        place = len(nodes)
        nodes.append((-1, 0.0, -1, -1, node.get("leaf_value", 0.0)))
        if "split_feature" in node:
            left, right = add(node["left_child"]), add(node["right_child"])
            nodes[place] = (node["split_feature"], node["threshold"], left, right, 0.0)
        return place

    add(root)
    feature, threshold, left, right, value = map(np.array, zip(*nodes, strict=True))
    return Tree(feature, threshold, left, right, value)
