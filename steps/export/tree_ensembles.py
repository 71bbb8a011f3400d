"""Tree ensembles as float64 ONNX graphs.

skl2onnx and onnxmltools store thresholds and leaves as float32: a row between a threshold and its
rounded value takes the other branch, and scores that differ by less than float32 resolves become
ties. The operator TreeEnsemble of ai.onnx.ml 5 computes in float64, like the engines.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from steps.evaluation.metrics import Floats

Integers = npt.NDArray[np.int64]

OPSETS = (helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 5))
SUM, NO_TRANSFORM, LESS_OR_EQUAL = 1, 0, 0


@dataclass(frozen=True)
class Tree:
    """A binary tree whose root is node 0; all arrays have shape (n_nodes,).

    Attributes:
        feature: index of the feature that a node compares; negative for a leaf.
        threshold: a row goes left if its feature is less than or equal to this.
        left: index of the left child.
        right: index of the right child.
        value: contribution of a leaf to the sum.
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
    """Return the graph of scale * (sum of the leaves), as log-odds or as a probability.

    Args:
        trees: at least one.
        n_features: the width of the float64 input `rows`.
        base: added to log-odds.
        scale: factor of the sum.
        logistic: True for log-odds, False for the probability of class 1.
        float32_features: round features to float32 first, as scikit-learn's forests do.

    Returns:
        A graph whose output `serving.model.runtimes` can read.
    """
    nodes, rows = _rounding() if float32_features else ([], "rows")
    nodes += [
        helper.make_node(
            "TreeEnsemble", [rows], ["sum"], domain="ai.onnx.ml", **_attributes(trees)
        ),
        helper.make_node("Mul", ["sum", "scale"], ["scaled"]),
        *_output_nodes(logistic),
    ]
    output, width = ("log_odds", 1) if logistic else ("probabilities", 2)
    constants = {"scale": scale} | ({"base": base} if logistic else {"one": 1.0})
    double = TensorProto.DOUBLE
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("rows", double, [None, n_features])],
        [helper.make_tensor_value_info(output, double, [None, width])],
        [numpy_helper.from_array(np.array([value]), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=10)


def _rounding() -> tuple[list[onnx.NodeProto], str]:
    """Return the nodes that round rows to float32, and the name of their output."""
    nodes = [
        helper.make_node("Cast", ["rows"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["single"], ["rounded"], to=TensorProto.DOUBLE),
    ]
    return nodes, "rounded"


def _output_nodes(logistic: bool) -> list[onnx.NodeProto]:
    """Return the nodes from the scaled sum to log-odds or to the probabilities of both classes."""
    if logistic:
        return [helper.make_node("Add", ["scaled", "base"], ["log_odds"])]
    return [
        helper.make_node("Sub", ["one", "scaled"], ["negative"]),
        helper.make_node("Concat", ["negative", "scaled"], ["probabilities"], axis=1),
    ]


def _attributes(trees: list[Tree]) -> dict[str, Any]:
    """Return the attributes of TreeEnsemble, which numbers inner nodes and leaves separately."""
    encoded = []
    n_nodes = n_leaves = 0
    for tree in map(_with_inner_root, trees):
        inner = tree.feature >= 0
        index = np.where(inner, n_nodes + np.cumsum(inner) - 1, n_leaves + np.cumsum(~inner) - 1)
        left, right = tree.left[inner], tree.right[inner]
        encoded.append(
            {
                "tree_roots": index[:1],
                "nodes_featureids": tree.feature[inner],
                "nodes_splits": tree.threshold[inner],
                "nodes_truenodeids": index[left],
                "nodes_falsenodeids": index[right],
                "nodes_trueleafs": ~inner[left],
                "nodes_falseleafs": ~inner[right],
                "leaf_weights": tree.value[~inner],
            }
        )
        n_nodes += int(inner.sum())
        n_leaves += int((~inner).sum())
    merged = {name: np.concatenate([tree[name] for tree in encoded]) for name in encoded[0]}
    tensors = {
        name: merged.pop(name).astype(np.float64) for name in ("nodes_splits", "leaf_weights")
    }
    return (
        {name: values.astype(np.int64).tolist() for name, values in merged.items()}
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
    """Return `tree`; a single leaf gets a root with that leaf as both children.

    The operator needs an inner node as root.
    """
    if tree.feature[0] >= 0:
        return tree
    return Tree(
        feature=np.array([0, -1]),
        threshold=np.zeros(2),
        left=np.array([1, -1]),
        right=np.array([1, -1]),
        value=np.array([0.0, tree.value[0]]),
    )
