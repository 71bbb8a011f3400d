"""Tree ensembles as float64 ONNX graphs.

The common converters keep thresholds and leaves as float32. Then a row between a threshold and
its rounding goes the other way, and rows whose scores differ by less than float32 can tell
become ties. The operator TreeEnsemble of ai.onnx.ml 5 computes in float64, like the engines.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from steps.pipeline.evaluation import Floats

Integers = npt.NDArray[np.int64]

OPSETS = (helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 5))
SUM, NO_TRANSFORM, LESS_OR_EQUAL = 1, 0, 0


@dataclass(frozen=True)
class Tree:
    """A binary tree, node 0 its root; all arrays have shape (n_nodes,).

    Attributes:
        feature: the number of the feature that a node compares; negative for a leaf.
        threshold: a row goes left if its feature is at most this.
        left: the node to the left.
        right: the node to the right.
        value: what a leaf adds.
    """

    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats


def ensemble_graph(
    trees: list[Tree],
    n_features: int,
    *,
    base: float = 0.0,
    scale: float = 1.0,
    logistic: bool = False,
    float32_features: bool = False,
) -> onnx.ModelProto:
    """Return the graph of scale * (sum of the leaves), log-odds or a probability.

    Args:
        trees: at least one.
        n_features: the width of the input `rows`, float64.
        base: what is added to log-odds.
        scale: what the sum is multiplied by.
        logistic: whether the result is log-odds; otherwise it is the probability of class 1.
        float32_features: whether rows are rounded first, as scikit-learn's forests do.

    Returns:
        A model with an output as `serving.graphs` reads it.
    """
    nodes, rows = [], "rows"
    if float32_features:
        nodes.append(helper.make_node("Cast", ["rows"], ["single"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Cast", ["single"], ["rounded"], to=TensorProto.DOUBLE))
        rows = "rounded"
    nodes += [
        helper.make_node(
            "TreeEnsemble", [rows], ["sum"], domain="ai.onnx.ml", **_attributes(trees)
        ),
        helper.make_node("Mul", ["sum", "scale"], ["scaled"]),
    ]
    constants = {"scale": scale}
    if logistic:
        output, width = "log_odds", 1
        nodes.append(helper.make_node("Add", ["scaled", "base"], [output]))
        constants["base"] = base
    else:
        output, width = "probabilities", 2
        nodes.append(helper.make_node("Sub", ["one", "scaled"], ["negative"]))
        nodes.append(helper.make_node("Concat", ["negative", "scaled"], [output], axis=1))
        constants["one"] = 1.0
    double = TensorProto.DOUBLE
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("rows", double, [None, n_features])],
        [helper.make_tensor_value_info(output, double, [None, width])],
        [numpy_helper.from_array(np.array([value]), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=10)


def _attributes(trees: list[Tree]) -> dict[str, Any]:
    """Return the trees as the operator wants them: inner nodes and leaves numbered apart."""
    parts = []
    n_nodes = n_leaves = 0
    for tree in map(_with_inner_root, trees):
        inner = tree.feature >= 0
        place = np.where(inner, n_nodes + np.cumsum(inner) - 1, n_leaves + np.cumsum(~inner) - 1)
        left, right = tree.left[inner], tree.right[inner]
        parts.append(
            {
                "tree_roots": place[:1],
                "nodes_featureids": tree.feature[inner],
                "nodes_splits": tree.threshold[inner],
                "nodes_truenodeids": place[left],
                "nodes_falsenodeids": place[right],
                "nodes_trueleafs": ~inner[left],
                "nodes_falseleafs": ~inner[right],
                "leaf_weights": tree.value[~inner],
            }
        )
        n_nodes += int(inner.sum())
        n_leaves += int((~inner).sum())
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    tensors = {
        name: whole.pop(name).astype(np.float64) for name in ("nodes_splits", "leaf_weights")
    }
    return (
        {name: values.astype(np.int64).tolist() for name, values in whole.items()}
        | {name: numpy_helper.from_array(values) for name, values in tensors.items()}
        | {
            "nodes_modes": numpy_helper.from_array(np.full(n_nodes, LESS_OR_EQUAL, np.uint8)),
            "leaf_targetids": [0] * n_leaves,
            "n_targets": 1,
            "aggregate_function": SUM,
            "post_transform": NO_TRANSFORM,
        }
    )


def _with_inner_root(tree: Tree) -> Tree:
    """Return `tree`, or for a single leaf an equal tree that compares before it reaches it."""
    if tree.feature[0] >= 0:
        return tree
    return Tree(
        feature=np.array([0, -1]),
        threshold=np.zeros(2),
        left=np.array([1, -1]),
        right=np.array([1, -1]),
        value=np.array([0.0, tree.value[0]]),
    )
