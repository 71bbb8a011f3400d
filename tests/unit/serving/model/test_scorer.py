"""Portable scorers."""

import json

import numpy as np
import pytest

from serving.errors import InputError, ScorerError
from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.probabilities import correct_prior
from serving.model.scorer import PortableScorer
from tests.support.linear_scorer import linear_scores, write_scorer

pytestmark = pytest.mark.quick


def test_linear_scores_equal_model(tmp_path, feature_rows):
    scores = write_scorer(tmp_path).score(feature_rows)
    np.testing.assert_allclose(scores, linear_scores(feature_rows), rtol=1e-12, atol=0)


def test_column_order_and_extra_columns_are_ignored(tmp_path, feature_rows):
    scorer = write_scorer(tmp_path)
    shuffled = feature_rows.assign(id="x", more=1)[["more", "V2", "id", "V1"]]
    assert (scorer.score(shuffled) == scorer.score(feature_rows)).all()


def test_scores_are_corrected_to_training_prior(tmp_path, feature_rows):
    scores = write_scorer(tmp_path, positive_weight=100.0).score(feature_rows)
    np.testing.assert_allclose(
        scores, correct_prior(linear_scores(feature_rows), 100.0), rtol=1e-12
    )


def test_missing_values_are_filled_as_in_training(tmp_path, feature_rows):
    scorer = write_scorer(tmp_path, fill=np.array([0.25, 0.0]))
    missing = feature_rows.assign(V1=np.nan)
    assert (scorer.score(missing) == scorer.score(feature_rows.assign(V1=0.25))).all()


WRONG = {
    "missing column": (lambda f: f.drop(columns="V2"), "missing column V2"),
    "null": (
        lambda f: f.assign(V2=f["V2"].where(f.index != 3)),
        "column V2, row 3: must not be null",
    ),
    "infinity": (lambda f: f.assign(V1=[*f["V1"][:-1], np.inf]), "column V1, row 499: must be fin"),
    "text": (lambda f: f.assign(V1=["a", *f["V1"][1:]]), "column V1, row 0: must be a number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rows_are_named(tmp_path, feature_rows, name):
    spoil, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        write_scorer(tmp_path).score(spoil(feature_rows))


def test_empty_table_has_no_scores(tmp_path, feature_rows):
    assert write_scorer(tmp_path).score(feature_rows.head(0)).shape == (0,)


def test_newer_format_is_refused(tmp_path):
    write_scorer(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(ScorerError, match="update ml-pipes"):
        PortableScorer.load(tmp_path)


def test_unknown_manifest_keys_are_ignored(tmp_path, feature_rows):
    scores = write_scorer(tmp_path).score(feature_rows)
    file = tmp_path / "manifest.json"
    manifest = json.loads(file.read_text()) | {"later": [1]}
    manifest["features"] = [feature | {"later": 1} for feature in manifest["features"]]
    file.write_text(json.dumps(manifest))
    assert Manifest.read(tmp_path).features == (Feature("V1"), Feature("V2"))
    assert (PortableScorer.load(tmp_path).score(feature_rows) == scores).all()


@pytest.mark.parametrize("damage", ["manifest.json", "model.onnx"])
def test_damaged_folder_is_refused(tmp_path, damage):
    write_scorer(tmp_path)
    (tmp_path / damage).write_bytes(b"{}")
    with pytest.raises(ScorerError, match=damage):
        PortableScorer.load(tmp_path)
