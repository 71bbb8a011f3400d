"""The champion that answers, and the watch for the next one.

Only the portable scorer of a model is read, never code that came with it. So ONNX and MOJO
champions of any version can follow each other in one process.
"""

import logging
import os
import re
import shutil
import tempfile
import threading
import weakref
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc import FLAVOR_NAME, MAIN

from serving.errors import NoChampionError, ScorerError, ServingError
from serving.prediction import ModelIdentity
from serving.registry import SCORER_IN_MODEL, is_absent
from serving.scorer import PortableScorer
from serving.signature import signature
from serving.web import metrics
from serving.web.columns import ColumnReader

log = logging.getLogger("ml-pipes")

REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/]+)|/(?P<version>\d+))/?")
LONGEST_PAUSE, MOST_DOUBLINGS = 60.0, 10
MLFLOW_SETTINGS = {
    # A registry that is away must not hold the watch for the minutes that MLflow takes by default.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True)
class Target:
    """A model as the registry has it: what to load, and what is known of it."""

    uri: str
    model: ModelIdentity
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedChampion:
    """A champion that is ready to answer: `columns` and `metadata` are what `/predict` and
    MLflow's protocol need to know of its features.
    """

    target: Target
    model: ModelIdentity
    scorer: PortableScorer
    columns: ColumnReader
    metadata: Model
    loaded_at: datetime


class ChampionWatch:
    """Keeps the newest champion loaded: `current` swaps it at once, for requests to come."""

    def __init__(self, uri: str, every: float, max_rows: int) -> None:
        self._uri = uri
        self._every = every
        self._max_rows = max_rows
        self._champion: LoadedChampion | None = None
        self._failed: Target | None = None
        self._failures = 0
        self.trouble: str | None = None
        self._looked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champion-watch", daemon=True)

    def start(self, patience: float) -> None:
        """Start the watch, and wait up to `patience` seconds for its first look."""
        for name, value in MLFLOW_SETTINGS.items():
            os.environ.setdefault(name, value)
        self._thread.start()
        self._looked.wait(patience)

    def stop(self) -> None:
        """End the watch and let go of the champion; a download that runs ends with the process."""
        self._stopping.set()
        self._champion = None

    def current(self) -> LoadedChampion:
        """Return the champion that answers.

        Raises:
            NoChampionError: none was loaded yet.
        """
        if self._champion is None:
            why = f" ({self.trouble})" if self.trouble else ""
            raise NoChampionError(f"waiting for the first champion at {self._uri}{why}")
        return self._champion

    @property
    def present(self) -> LoadedChampion | None:
        """The champion that answers, if there is one."""
        return self._champion

    @property
    def version(self) -> str | None:
        """The registered version of the champion that answers."""
        return self._champion.model.version if self._champion else None

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except Exception as error:  # whatever it is, the present champion answers on
                self._report(f"{self._uri} cannot be loaded: {_one_line(error)}")
                if not isinstance(error, ServingError | MlflowException | OSError):
                    log.exception("the watch for champions failed")
            self._looked.set()
            # A version that fails is tried again, at growing intervals: its files may be late.
            pause = self._every * 2 ** min(self._failures, MOST_DOUBLINGS)
            self._stopping.wait(max(self._every, min(pause, LONGEST_PAUSE)))

    def _look(self) -> None:
        target = find(self._uri)
        if target is None:
            self._report(None if self._champion is None else f"{self._uri} is gone")
            return
        if self._champion is not None and target.uri == self._champion.target.uri:
            self._failed, self._failures = None, 0
            self._report(None)
            return
        if target != self._failed:
            self._failed, self._failures = target, 0
        try:
            self._champion = load(target, self._max_rows)
        except Exception:
            self._failures += 1
            metrics.LOAD_FAILURES.inc()
            raise
        self._failed, self._failures = None, 0
        self.trouble = None
        log.warning("%s answers from now on", target.uri)

    def _report(self, trouble: str | None) -> None:
        if trouble and trouble != self.trouble:
            answering = f"; {self._champion.target.uri} answers on" if self._champion else ""
            log.warning("%s%s", trouble, answering)
        self.trouble = trouble


def find(uri: str) -> Target | None:
    """Ask the registry what `uri` is now; None if there is no such model yet.

    Raises:
        MlflowException: the registry is away.
    """
    named = REGISTERED.fullmatch(uri)
    if named is None:
        return Target(uri, ModelIdentity(None, None, None))
    client = MlflowClient()
    try:
        version = _version(client, named)
    except MlflowException as error:
        if is_absent(error):
            return None
        raise
    number = str(version.version)
    return Target(
        f"models:/{version.name}/{number}",
        ModelIdentity(version.name, number, version.run_id),
        _test_metrics(client, version),
        dict(version.tags),
    )


def _version(client: MlflowClient, named: re.Match[str]) -> ModelVersion:
    if named["alias"]:
        return client.get_model_version_by_alias(named["name"], named["alias"])
    return client.get_model_version(named["name"], named["version"])


def _test_metrics(client: MlflowClient, version: ModelVersion) -> dict[str, float]:
    try:
        found = client.get_run(version.run_id or "").data.metrics
    except MlflowException as error:  # the run may be deleted: the model is not less for it
        log.info("no metrics of %s version %s: %s", version.name, version.version, error)
        return {}
    return {name: value for name, value in found.items() if name.startswith("test_")}


def load(target: Target, max_rows: int) -> LoadedChampion:
    """Fetch a model, load its portable scorer, and let it score a row.

    Raises:
        ServingError: it cannot be read or does not score.
        MlflowException, OSError: it cannot be fetched.
    """
    folder = Path(tempfile.mkdtemp(prefix="ml-pipes-champion-"))
    try:
        found = Path(download_artifacts(artifact_uri=target.uri, dst_path=str(folder)))
        scorer = PortableScorer.load(found / SCORER_IN_MODEL)
        model = target.model if target.model.name else _identify(found)
        score = scorer.score_matrix(np.zeros((1, len(scorer.names))))
        if not np.isfinite(score).all():
            raise ScorerError(f"{target.uri} scores a row of zeros as {score[0]}")
    except BaseException:
        shutil.rmtree(folder)
        raise
    champion = LoadedChampion(
        target,
        model,
        scorer,
        ColumnReader(scorer.manifest, max_rows),
        Model(signature=signature(scorer.manifest), flavors={FLAVOR_NAME: {MAIN: __name__}}),
        datetime.now(UTC),
    )
    # Not earlier: Java reads classes of a MOJO's jar when they are first needed.
    weakref.finalize(champion, shutil.rmtree, folder, ignore_errors=True)
    return champion


def _identify(folder: Path) -> ModelIdentity:
    """Return the run of a model that is served from outside the registry."""
    content = yaml.safe_load((folder / "MLmodel").read_text())
    return ModelIdentity(None, None, content.get("run_id"))


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
