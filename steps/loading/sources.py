"""Named data sets, and digests of the content of sources."""

import hashlib
import re
from pathlib import Path

from steps.data import creditcard
from steps.data.dataset_source import RUNS_URI
from steps.loading.files import paths_of
from steps.runtime.errors import SourceError
from steps.runtime.mlproject import PROJECT

SAMPLE = PROJECT / "data" / "creditcard_sample.parquet"
ENCODING_SUFFIX = re.compile(r"#encoding=([\w.-]+)$")


def content_digest(data: str) -> str | None:
    """Return a digest of the content that the parameter `data` names.

    It is made of the SHA-256 of local files, and the entity tags of objects in a store. None if
    neither is available, as with databases and most web servers, or if the data cannot be read.
    """
    if data == "creditcard":
        return creditcard.CSV_SHA256
    if data.startswith(RUNS_URI):
        return data  # artifacts do not change
    uri = ENCODING_SUFFIX.sub("", str(SAMPLE) if data == "sample" else data)
    try:
        system, files = paths_of(uri)
        if "file" in system.protocol:
            digests = [_sha256(Path(file)) for file in files]
        else:
            digests = [system.info(file).get("ETag") for file in files]
    except (OSError, ValueError, ImportError, SourceError):  # reported by the step
        return None
    if not all(digests):
        return None
    if len(digests) == 1:
        return str(digests[0])
    return hashlib.sha256("\n".join(map(str, digests)).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
