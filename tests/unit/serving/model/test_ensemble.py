"""Portable scorers of ensembles."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from serving.errors import ScorerError
from serving.model.ensemble import member_folder
from serving.model.features import Feature
from serving.model.manifest import Manifest, Member
from serving.model.preparation import Encoding
from serving.model.scorer import PortableScorer
from steps.export.onnx_graphs import linear_graph, write_onnx

pytestmark = pytest.mark.quick

FEATURES = (Feature("job", "category", nullable=True), Feature("age"))
FIRST = (Encoding("job", ("job",), levels={"nurse": (2.0,)}, missing=(0.0,), unseen=(-1.0,)),)
REFIT = (
    Encoding(
        "job",
        ("job_1", "job_2"),
        levels={"nurse": (1.0, 0.0), "clerk": (0.0, 1.0)},
        missing=(0.0, 0.0),
        unseen=(0.5, 0.5),
    ),
)
ROWS = pd.DataFrame({"job": ["nurse", "clerk", None, "poet"] * 5, "age": np.linspace(-3, 3, 20)})


@pytest.fixture
def ensemble(tmp_path):
    """A member with the preparation of the refit and two with that of the first fit."""
    coefficients = ([1.0, -2.0, 0.5], [1.5, 0.5], [90.0, 0.0])
    for place, values in enumerate(coefficients):
        folder = member_folder(tmp_path, place)
        folder.mkdir()
        write_onnx(linear_graph(np.array(values), 0.1), folder, len(values))
    Manifest(
        "ensemble",
        FEATURES,
        threshold=0.3,
        encodings=REFIT,
        members=(
            Member("h2o GLM", "onnx", 0.5, positive_weight=4.0),
            Member("spark Logistic Regression", "onnx", 0.3, encodings=FIRST),
            Member("spark Steep", "onnx", 0.2, encodings=FIRST),
        ),
        format_version=3,
    ).write(tmp_path)
    return tmp_path


def expected_scores():
    age = ROWS["age"].to_numpy()
    job = ROWS["job"].map({"nurse": 0, "clerk": 1, "poet": 3}).fillna(2).astype(int).to_numpy()
    two = np.array([[1, 0], [0, 1], [0, 0], [0.5, 0.5]])[job] @ [1.0, -2.0]
    one = np.array([2.0, -1.0, 0.0, -1.0])[job]
    log_odds = (
        0.5 * (two + 0.5 * age + 0.1 - np.log(4))
        + 0.3 * (1.5 * one + 0.5 * age + 0.1)
        + 0.2 * np.clip(90 * one + 0.1, -15, 15)
    )
    return 1 / (1 + np.exp(-log_odds))


def test_members_are_combined_with_their_own_preparations(ensemble):
    scorer = PortableScorer.load(ensemble)
    scores = scorer.score(ROWS)
    np.testing.assert_allclose(scores, expected_scores(), rtol=1e-9)
    alone = [scorer.score(ROWS.iloc[[row]])[0] for row in range(len(ROWS))]
    assert alone == scores.tolist()


def test_ensemble_counts_levels_that_the_refit_has_not_seen(ensemble):
    scorer = PortableScorer.load(ensemble)
    assert scorer.preparation.count_unseen(scorer.schema.parse_frame(ROWS)) == {"job": 5}


def test_incomplete_ensemble_is_refused(ensemble):
    (member_folder(ensemble, 1) / "model.onnx").unlink()
    with pytest.raises(ScorerError, match=r"member_2/model.onnx: cannot be read"):
        PortableScorer.load(ensemble)


MEMBERS = (Member("one", "onnx", 0.5), Member("two", "mojo", 0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": ()}, "members: a scorer of kind 'ensemble' has 0"),
        ({"kind": "onnx"}, "members: a scorer of kind 'onnx' has 2"),
        ({"members": MEMBERS[:1]}, "members: the weights must add up to 1, not to 0.5"),
        ({"members": (replace(MEMBERS[0], weight=-0.5),)}, r"members\[0\].weight: "),
        ({"members": (replace(MEMBERS[0], weight=float("nan")),)}, r"members\[0\].weight: "),
        ({"members": (replace(MEMBERS[0], kind="ensemble"),)}, r"members\[0\].kind: "),
        ({"members": (replace(MEMBERS[0], positive_weight=0.0),)}, r"members\[0\].positive_weight"),
        (
            {"members": (replace(MEMBERS[0], encodings=()), MEMBERS[1])},
            "encodings: the category 'job' has none",
        ),
    ],
)
def test_damaged_members_are_refused(tmp_path, changes, message):
    manifest = Manifest(
        "ensemble", FEATURES, 0.3, encodings=FIRST, members=MEMBERS, format_version=3
    )
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    replace(manifest, **changes).write(tmp_path)
    with pytest.raises(ScorerError, match=message):
        Manifest.read(tmp_path)
