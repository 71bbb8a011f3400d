import json

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from serving.errors import InputError, ScorerError
from serving.scorer import Feature, Manifest, PortableScorer, correct_prior
from steps.pipeline.export import SCORE_TOLERANCE, linear_graph, prove, write_onnx
from steps.pipeline.splits import Part
from steps.pipeline.trees import Tree, ensemble_graph
from steps.train_pycaret import _hist_tree

pytestmark = pytest.mark.quick

COEFFICIENTS, INTERCEPT = np.array([1.5, -0.7]), -2.0


def write_scorer(folder, fill=None, positive_weight=1.0):
    write_onnx(linear_graph(COEFFICIENTS, INTERCEPT), folder, 2, fill=fill)
    features = (Feature("V1", nullable=fill is not None), Feature("V2"))
    Manifest("onnx", features, threshold=0.3, positive_weight=positive_weight).write(folder)
    return PortableScorer.load(folder)


def by_hand(frame):
    return 1 / (1 + np.exp(-(frame[["V1", "V2"]].to_numpy() @ COEFFICIENTS + INTERCEPT)))


@pytest.fixture
def frame():
    return pd.DataFrame(np.random.default_rng(1).normal(size=(500, 2)), columns=["V1", "V2"])


def part(frame, y=None):
    frame = frame.assign(Class=np.arange(len(frame)) % 5 == 0 if y is None else y)
    return Part("validation", None, frame.astype({"Class": int}), ["V1", "V2"], "Class")


def test_linear_models_are_equal_to_1e12(tmp_path, frame):
    scores = write_scorer(tmp_path).score(frame)
    np.testing.assert_allclose(scores, by_hand(frame), rtol=1e-12, atol=0)


def test_columns_may_come_in_any_order_and_others_are_ignored(tmp_path, frame):
    scorer = write_scorer(tmp_path)
    shuffled = frame.assign(id="x", more=1)[["more", "V2", "id", "V1"]]
    assert (scorer.score(shuffled) == scorer.score(frame)).all()


def test_scores_are_corrected_to_the_training_prior(tmp_path, frame):
    scores = write_scorer(tmp_path, positive_weight=100.0).score(frame)
    np.testing.assert_allclose(scores, correct_prior(by_hand(frame), 100.0), rtol=1e-12)


def test_missing_values_are_filled_where_training_had_some(tmp_path, frame):
    scorer = write_scorer(tmp_path, fill=np.array([0.25, 0.0]))
    missing = frame.assign(V1=np.nan)
    assert (scorer.score(missing) == scorer.score(frame.assign(V1=0.25))).all()


WRONG = {
    "missing column": (lambda f: f.drop(columns="V2"), "missing column V2"),
    "null": (lambda f: f.assign(V2=f["V2"].where(f.index != 3)), "column V2, row 3: must not be"),
    "infinity": (lambda f: f.assign(V1=[*f["V1"][:-1], np.inf]), "column V1, row 499: must be fin"),
    "text": (lambda f: f.assign(V1=["a", *f["V1"][1:]]), "column V1, row 0: must be a number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rows_are_named_by_column_row_and_rule(tmp_path, frame, name):
    spoil, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        write_scorer(tmp_path).score(spoil(frame))


def test_no_rows_no_scores(tmp_path, frame):
    assert write_scorer(tmp_path).score(frame.head(0)).shape == (0,)


def test_a_newer_format_is_refused(tmp_path):
    write_scorer(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(ScorerError, match="update ml-pipes"):
        PortableScorer.load(tmp_path)


@pytest.mark.parametrize("damage", ["manifest.json", "model.onnx"])
def test_a_damaged_folder_is_refused(tmp_path, damage):
    write_scorer(tmp_path)
    (tmp_path / damage).write_bytes(b"{}")
    with pytest.raises(ScorerError, match=damage):
        PortableScorer.load(tmp_path)


def test_the_proof_accepts_an_equal_export(tmp_path, frame):
    assert prove(write_scorer(tmp_path), by_hand(frame), part(frame)).failures == []


def test_the_proof_works_on_few_rows(tmp_path, frame):
    few = frame.head(20)
    assert prove(write_scorer(tmp_path), by_hand(few), part(few)).failures == []


def test_the_proof_refuses_one_row_that_differs(tmp_path, frame):
    native = by_hand(frame)
    native[123] += 2 * SCORE_TOLERANCE
    (failure,) = prove(write_scorer(tmp_path), native, part(frame)).failures
    assert "scores differ by up to 2e-09" in failure


def test_the_proof_refuses_other_ranks_even_within_the_tolerance(tmp_path, frame):
    scorer = write_scorer(tmp_path)
    close = by_hand(frame) * 1e-10
    scorer.score = lambda rows: close[rows.index]
    positives = np.arange(len(frame)) < 100
    other = np.where(positives, close + 2e-10, close)
    (failure,) = prove(scorer, other, part(frame, positives)).failures
    assert "KS differs" in failure


def test_the_proof_refuses_scores_that_are_no_numbers(tmp_path, frame):
    native = by_hand(frame)
    native[7] = np.nan
    assert prove(write_scorer(tmp_path), native, part(frame)).failures


def test_the_proof_refuses_rows_that_score_otherwise_alone(tmp_path, frame):
    scorer = write_scorer(tmp_path)
    scorer.score = lambda rows: by_hand(rows) + (1e-12 if len(rows) == 1 else 0)
    (failure,) = prove(scorer, by_hand(frame), part(frame)).failures
    assert "200 of 200 rows score otherwise alone" in failure


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


def test_a_tree_of_one_leaf_is_a_constant(tmp_path):
    nothing = np.array([-1])
    leaf = Tree(nothing, np.zeros(1), nothing, nothing, np.array([0.3]))
    write_onnx(ensemble_graph([leaf, leaf], 2, scale=0.5), tmp_path, 2)
    Manifest("onnx", (Feature("V1"), Feature("V2")), threshold=0.5).write(tmp_path)
    assert PortableScorer.load(tmp_path).score_matrix(np.ones((3, 2))).tolist() == [0.3] * 3
