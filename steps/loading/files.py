"""Local copies of the files of a source: downloads, folders, globs and compressed files."""

import bz2
import gzip
import lzma
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import mlflow
import pyarrow as pa
from mlflow.exceptions import MlflowException

from serving.errors import one_line
from steps.data.dataset_source import RUNS_URI
from steps.runtime.errors import SourceError

PARQUET = b"PAR1"
WILDCARDS = "*?["
# Web servers have no folders.
WEB = ("http", "https")


def _open_zstd(file: Path) -> Any:
    return pa.CompressedInputStream(pa.OSFile(str(file)), "zstd")


def _open_only_member(file: Path) -> Any:
    archive = zipfile.ZipFile(file)
    members = [name for name in archive.namelist() if not name.endswith("/")]
    if "[Content_Types].xml" in members:
        raise SourceError("an Excel workbook or another office file; save the table as CSV")
    if len(members) != 1:
        raise SourceError(
            f"a zip archive with {len(members)} members; extract the table, or create an archive "
            "with that file only"
        )
    return archive.open(members[0])


# The decompressing stream of a file, by the bytes that it begins with.
COMPRESSIONS: dict[bytes, Callable[[Path], Any]] = {
    b"PK\x03\x04": _open_only_member,
    b"PK\x05\x06": _open_only_member,  # of an empty archive
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}


@dataclass(frozen=True)
class SourceFile:
    """A local file of a source.

    Attributes:
        name: what the user calls it, for messages.
        path: the file, a temporary one if it was downloaded or decompressed.
    """

    name: str
    path: Path

    @property
    def head(self) -> bytes:
        """The first bytes of the file."""
        with self.path.open("rb") as stream:
            return stream.read(8)


def local_files(uri: str, folder: Path) -> list[SourceFile]:
    """Return the files of a path, URI, folder or glob, decompressed, by name.

    Args:
        uri: any URI that fsspec supports, or runs:/RUN_ID/PATH.
        folder: a place for downloads.

    Raises:
        SourceError: a file is missing, unreachable or corrupt.
    """
    if uri.startswith(RUNS_URI):
        return [_decompressed(SourceFile(uri, _artifact(uri, folder)), folder)]
    try:
        system, path = fsspec.url_to_fs(uri)
        found = _listed(system, path, uri)
        files = [
            SourceFile(uri if file == path else system.unstrip_protocol(file), local)
            for place, file in enumerate(found)
            for local in [_local(system, file, folder / f"{place}.download")]
        ]
    except FileNotFoundError as error:
        if error.__cause__ is None:
            raise SourceError(f"{uri}: no such file") from None
        raise SourceError(f"{uri}: cannot be read: {one_line(error.__cause__)}") from error
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"{uri}: cannot be read: {one_line(error)}") from error
    return [_decompressed(file, folder) for file in files]


def paths_of(uri: str) -> tuple[Any, list[str]]:
    """Return the file system of `uri` and the files in it that `uri` names.

    Raises:
        OSError, ValueError, ImportError: the file system is unknown or unreachable.
    """
    system, path = fsspec.url_to_fs(uri)
    return system, _listed(system, path, uri)


def _listed(system: Any, path: str, uri: str) -> list[str]:
    """Return the files that a path names; hidden files of a folder are left out."""
    if _protocol(system) in WEB or system.isfile(path):
        return [path]
    if any(character in path for character in WILDCARDS):
        found = [file for file in system.glob(path) if system.isfile(file)]
    elif system.isdir(path):
        found = [file for file in system.find(path) if not _is_hidden(file, path)]
    else:
        return [path]
    if not found:
        raise SourceError(f"{uri}: contains no files; check the path")
    return sorted(found)


def _is_hidden(file: str, folder: str) -> bool:
    """Return whether a part of the name is that of a file which Spark or a system left."""
    return any(part.startswith(("_", ".")) for part in Path(file).relative_to(folder).parts)


def _protocol(system: Any) -> str:
    protocol = system.protocol
    return str(protocol if isinstance(protocol, str) else protocol[0])


def _local(system: Any, file: str, target: Path) -> Path:
    if _protocol(system) == "file":
        with open(file, "rb"):  # raises what is wrong with it
            return Path(file)
    with system.open(file, "rb") as remote, target.open("wb") as local:
        shutil.copyfileobj(remote, local, 2**20)
    return target


def _artifact(uri: str, folder: Path) -> Path:
    try:
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise SourceError(f"{uri}: no such artifact: {one_line(error)}") from error


def _decompressed(file: SourceFile, folder: Path) -> SourceFile:
    opening = (open_ for magic, open_ in COMPRESSIONS.items() if file.head.startswith(magic))
    if (open_ := next(opening, None)) is None:
        return file
    target = folder / f"{file.path.name}.decompressed"
    try:
        with open_(file.path) as stream, target.open("wb") as local:
            shutil.copyfileobj(stream, local, 2**20)
    except SourceError as error:
        raise SourceError(f"{file.name}: {error}") from None
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno:  # such as a full disk
            raise
        reason = one_line(error)
        raise SourceError(f"{file.name}: the compressed file is corrupt: {reason}") from error
    return SourceFile(file.name, target)
