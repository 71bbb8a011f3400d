"""What is logged and answered for a scored row, and the id that it carries."""

import hashlib
import os
import time
import uuid
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.errors import InputError

LONGEST_KEY = 255


@dataclass(slots=True)
class Prediction:
    """One scored row, as it is stored and answered. `features` maps names to finite
    numbers, or None where missing.
    """

    prediction_id: str
    row_index: int
    entity_id: str | None
    score: float
    label: int
    threshold: float
    features: dict[str, float | None]


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered: `name` and `version` are None outside the registry."""

    name: str | None
    version: str | None
    run_id: str | None


def check_key(field: str, key: str) -> None:
    """Check that a key of the caller can be stored.

    Raises:
        InputError: it is longer than 255 characters or no plain text.
    """
    if len(key) > LONGEST_KEY:
        raise InputError(f"{field}: must have at most {LONGEST_KEY} characters")
    if "\0" in key or not _is_unicode(key):
        raise InputError(f"{field}: must be plain text")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def feature_rows(
    names: list[str], matrix: npt.NDArray[np.float64]
) -> list[dict[str, float | None]]:
    """Return the rows of a matrix of shape (n_rows, n_features) by name, None where missing."""
    rows: list[dict[str, float | None]] = [
        dict(zip(names, row, strict=True)) for row in matrix.tolist()
    ]
    for row, column in np.argwhere(np.isnan(matrix)):
        rows[row][names[column]] = None
    return rows


def prediction_ids(
    n_rows: int, request_id: str | None = None, model_name: str | None = None
) -> list[str]:
    """Return `n_rows` unique ids: time-ordered, or derived from the request's id if it has one.

    Time-ordered ids (UUID version 7, RFC 9562) keep inserts at the end of the index.
    Derived ones (version 8) let a retry meet the rows of its first attempt; a request's id
    means something to one model only.
    """
    if request_id is not None:
        seed = f"{model_name or ''}\0{request_id}"
        digests = (hashlib.sha256(f"{row}\0{seed}".encode()) for row in range(n_rows))
        return [_uuid(8, int.from_bytes(digest.digest()[:16], "big")) for digest in digests]
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(6), "big")
    # The row's number follows the time, around the bits of the version and the variant (12 and
    # 14 of its bits), so that the ids of one request sort as its rows.
    return [
        _uuid(7, milliseconds << 80 | (row >> 14) << 64 | (row & 0x3FFF) << 48 | random)
        for row in range(n_rows)
    ]


def _uuid(version: int, number: int) -> str:
    """Return the UUID that keeps all 128 bits of `number` but the six it must set."""
    number = number & ~(0xF << 76) | version << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))
