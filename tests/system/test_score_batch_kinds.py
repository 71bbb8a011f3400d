"""Tables with columns of every kind and any name that `score_batch` scores."""

import numpy as np
import pandas as pd
import pytest

from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.prediction import ModelIdentity
from serving.model.scorer import PortableScorer
from steps.batch.champion_scorer import ChampionScorer
from steps.batch.input import read_input
from steps.batch.job import ScoringJob
from steps.batch.scoring import SPARK_SETTINGS, score_table
from steps.export.onnx_graphs import linear_graph, write_onnx
from steps.runtime.spark_session import spark_session
from tests.support.mixed_model import EXAMPLE, EXAMPLE_SCORES, ID_COLUMN
from tests.support.odd_names import ODD_NAMES
from tests.support.tiny_model import tiny_model_scores


@pytest.fixture(scope="module")
def spark():
    with spark_session("local[1]", SPARK_SETTINGS) as spark:
        yield spark


@pytest.fixture
def scored(spark, tmp_path):
    """A function that scores a file with the scorer in a folder."""

    def score(source, scorer) -> pd.DataFrame:
        output = tmp_path / "scored"
        output.mkdir()
        champion = ChampionScorer(ModelIdentity("m", "1", "r"), scorer, PortableScorer.load(scorer))
        read = read_input(spark, str(source), champion.scorer.manifest.features)
        job = ScoringJob.of(read, champion.identity)
        score_table(read, job, champion, output, check_ids=True)
        return pd.read_parquet(output)

    return score


def test_every_kind_is_read_from_csv(scored, mixed_model, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text(
        "zip,since,member,active,paid,Charges ($),id,customerID\n"
        "007,31.05.2022,yes,true,,12.5,1,a\n"
        "1,NA,,false,TRUE, ,NA,b\n"
    )
    rows = scored(source, mixed_model / "artifacts" / "scorer")
    assert rows["score"].tolist() == pytest.approx(EXAMPLE_SCORES.tolist(), rel=1e-12)
    assert rows[ID_COLUMN].tolist() == ["a", "b"]


@pytest.mark.parametrize("line_end", ["\r", "\r\n"])
def test_csv_has_any_line_end(scored, tiny_model, tmp_path, line_end):
    source = tmp_path / "in.csv"
    source.write_bytes(line_end.join(["V1,gap", "1,2", "-1,", ""]).encode())
    rows = scored(source, tiny_model / "artifacts" / "scorer")
    expected = tiny_model_scores(np.array([1, -1]), np.array([2, 0.5]))
    assert rows["score"].tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_every_kind_is_read_from_parquet(scored, mixed_model, tmp_path):
    frame = pd.DataFrame(EXAMPLE)
    frame = frame.assign(
        zip=frame["zip"].astype("category"),
        since=pd.to_datetime(frame["since"]).dt.tz_localize("UTC"),
        member=pd.array([True, None], "boolean"),
    )
    frame.to_parquet(tmp_path / "in.parquet")
    rows = scored(tmp_path / "in.parquet", mixed_model / "artifacts" / "scorer")
    assert rows["score"].tolist() == pytest.approx(EXAMPLE_SCORES.tolist(), rel=1e-12)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_features_have_any_name(scored, tmp_path, kind):
    scorer, source = tmp_path / "scorer", tmp_path / f"in.{kind}"
    scorer.mkdir()
    weights = np.linspace(-1, 1, len(ODD_NAMES))
    write_onnx(linear_graph(weights, 0.5), scorer, len(weights))
    Manifest("onnx", tuple(map(Feature, ODD_NAMES)), threshold=0.5).write(scorer)
    values = np.random.default_rng(3).normal(size=(50, len(ODD_NAMES)))
    rows = pd.DataFrame(values, columns=list(ODD_NAMES))
    rows.to_csv(source, index=False) if kind == "csv" else rows.to_parquet(source)
    found = scored(source, scorer)
    assert list(found)[: len(ODD_NAMES)] == list(ODD_NAMES)
    np.testing.assert_allclose(found.iloc[:, -4], 1 / (1 + np.exp(-(values @ weights + 0.5))))
