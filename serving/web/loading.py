"""Resolution of model URIs in the registry, and loading of champions.

Only the portable scorer of a model is read, never code that came with it: ONNX and MOJO champions
of any version can follow each other in one process.
"""

import logging
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.errors import ScorerError, ServingError, one_line
from serving.log.spool import Spool
from serving.log.write_request import checked_request
from serving.model.explanations import Explainer
from serving.model.mlflow_model import SCORER_IN_MODEL, is_absent, run_id_of
from serving.model.prediction import ModelIdentity, Prediction, predict_rows
from serving.model.scorer import PortableScorer
from serving.settings import REGISTERED
from serving.web.champion_folders import ChampionFolder
from serving.web.columns import ColumnParser

logger = logging.getLogger("ml-pipes")


@dataclass(frozen=True)
class ResolvedModel:
    """A model that a URI currently refers to, with the registry's metrics and tags."""

    uri: str
    identity: ModelIdentity
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedChampion:
    """A champion that is ready to answer.

    `columns` parses the columns of a request; `explainer` is None without reference rows.
    """

    source: ResolvedModel
    model: ModelIdentity
    scorer: PortableScorer
    columns: ColumnParser
    loaded_at: datetime
    explainer: Explainer | None = None


def resolve(uri: str) -> ResolvedModel | None:
    """Return the model that `uri` currently refers to, None if there is none yet.

    Raises:
        MlflowException: the registry is unavailable.
    """
    registered = REGISTERED.fullmatch(uri)
    if registered is None:
        return ResolvedModel(uri, ModelIdentity(None, None, None))
    client = MlflowClient()
    try:
        version = _version(client, registered)
    except MlflowException as error:
        if is_absent(error):
            return None
        raise
    number = str(version.version)
    return ResolvedModel(
        f"models:/{version.name}/{number}",
        ModelIdentity(version.name, number, version.run_id),
        _test_metrics(client, version),
        dict(version.tags),
    )


def _version(client: MlflowClient, registered: re.Match[str]) -> ModelVersion:
    if registered["alias"]:
        return client.get_model_version_by_alias(registered["name"], registered["alias"])
    return client.get_model_version(registered["name"], registered["version"])


def _test_metrics(client: MlflowClient, version: ModelVersion) -> dict[str, float]:
    try:
        metrics = client.get_run(version.run_id or "").data.metrics
    except MlflowException as error:  # a deleted run does not prevent serving its model
        logger.info("%s version %s has no metrics: %s", version.name, version.version, error)
        return {}
    return {name: value for name, value in metrics.items() if name.startswith("test_")}


def load(source: ResolvedModel, max_rows: int) -> LoadedChampion:
    """Download a model, load its portable scorer, and try it from a request to its answer.

    Raises:
        ServingError: the scorer cannot be loaded, or requests to it would fail.
        MlflowException, OSError: the model cannot be downloaded.
    """
    folder = ChampionFolder()
    try:
        model = Path(download_artifacts(artifact_uri=source.uri, dst_path=str(folder.path)))
        scorer = PortableScorer.load(model / SCORER_IN_MODEL)
        champion = LoadedChampion(
            source,
            source.identity
            if source.identity.name
            else ModelIdentity(None, None, run_id_of(model)),
            scorer,
            ColumnParser(scorer.schema, scorer.manifest.id_column, max_rows),
            datetime.now(UTC),
            Explainer(scorer) if scorer.manifest.reference_rows else None,
        )
        _try(champion, folder.path)
    except BaseException:
        folder.remove()
        raise
    # Not earlier: Java reads classes from a MOJO's jar when they are first used.
    folder.remove_with(champion)
    return champion


def _try(champion: LoadedChampion, folder: Path) -> None:
    """Answer rows, and log them in a file in `folder`.

    Raises:
        ScorerError: a request would fail.
    """
    features = champion.scorer.manifest.features
    known = {feature.name: feature.example for feature in features}
    missing = {feature.name: None for feature in features if feature.nullable}
    try:
        for row in (known, known | missing):
            _log_trial(_predict(champion, row), champion.model, folder / "trial.db")
    except Exception as error:
        raise ScorerError(f"it cannot answer a row: {one_line(error)}") from error


def _predict(champion: LoadedChampion, row: dict[str, Any]) -> list[Prediction]:
    rows = champion.columns.parse(row | {champion.columns.id_column: "trial"})
    scored = predict_rows(champion.scorer, champion.model, rows.features, rows.entity_ids, None)
    if not math.isfinite(scored[0].score):
        raise ScorerError(f"the score is {scored[0].score}")
    return scored


def _log_trial(rows: list[Prediction], model: ModelIdentity, file: Path) -> None:
    request = checked_request(rows, model, source="trial", request_id=None)
    log = Spool(file)
    try:
        log.open()
        log.write([request])
    finally:
        log.close()
    if isinstance(request.answer, ServingError):
        raise request.answer
