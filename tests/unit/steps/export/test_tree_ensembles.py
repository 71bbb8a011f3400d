"""Tree ensembles as ONNX graphs."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.scorer import PortableScorer
from steps.export.onnx_graphs import write_onnx
from steps.export.scikit_learn import _hist_tree
from steps.export.tree_ensembles import Tree, ensemble_graph

pytestmark = pytest.mark.quick


def test_trees_compute_in_float64(tmp_path):
    random = np.random.default_rng(5)
    X = random.random((4000, 2)) * 1e-3 + 1000  # float32 tells apart only 16 values of it
    y = (X[:, 0] + X[:, 1] > 2000.001).astype(int)
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(X, y)
    trees = [_hist_tree(tree.nodes) for (tree,) in model._predictors]
    graph = ensemble_graph(trees, 2, base=model._baseline_prediction.item(), logistic=True)
    write_onnx(graph, tmp_path, 2)
    Manifest("onnx", (Feature("V1"), Feature("V2")), threshold=0.5).write(tmp_path)
    scores = PortableScorer.load(tmp_path).score_matrix(X)
    np.testing.assert_allclose(scores, model.predict_proba(X)[:, 1], rtol=1e-12)


def test_single_leaf_is_constant(tmp_path):
    nothing = np.array([-1])
    leaf = Tree(nothing, np.zeros(1), nothing, nothing, np.array([0.3]))
    write_onnx(ensemble_graph([leaf, leaf], 2, scale=0.5), tmp_path, 2)
    Manifest("onnx", (Feature("V1"), Feature("V2")), threshold=0.5).write(tmp_path)
    assert PortableScorer.load(tmp_path).score_matrix(np.ones((3, 2))).tolist() == [0.3] * 3
