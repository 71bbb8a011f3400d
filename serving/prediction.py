"""What is logged and answered for a scored row, and the id that it carries."""

import hashlib
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.errors import InputError
from serving.scorer import PortableScorer

LONGEST_KEY = 255
# From here on a float does not hold every integer.
LARGEST_EXACT = 2**53


@dataclass(slots=True)
class Prediction:
    """One scored row, as it is stored and answered. `features` maps names to finite
    numbers, or None where missing. A retry gets the row of the first attempt, and with it
    the version of the model that answered then.
    """

    prediction_id: str
    row_index: int
    entity_id: str | None
    score: float
    label: int
    threshold: float
    features: dict[str, float | None]
    model_version: str | None


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


def entity_id(key: Any, row: int) -> str | None:
    """Return the caller's key of a row as text; a column of integers with a gap comes as floats.

    Raises:
        InputError: it is too long, or a number that a float no longer holds exactly.
    """
    if pd.isna(key):
        return None
    if isinstance(key, float) and key.is_integer():
        if abs(key) >= LARGEST_EXACT:
            raise InputError(f"column id, row {row}: too large for a number, send it as a string")
        key = int(key)
    check_key(f"column id, row {row}", str(key))
    return str(key)


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
    missing = np.isnan(matrix)
    if missing.any():
        for row, column in np.argwhere(missing):
            rows[row][names[column]] = None
    return rows


def predict_rows(
    scorer: PortableScorer,
    model: ModelIdentity,
    matrix: npt.NDArray[np.float64],
    entity_ids: Sequence[str | None],
    request_id: str | None,
) -> list[Prediction]:
    """Score a valid matrix of shape (n_rows, n_features); nothing is logged yet."""
    threshold = scorer.manifest.threshold
    scores = scorer.score_matrix(matrix).tolist()
    ids = prediction_ids(len(matrix), request_id, model.name)
    rows = zip(ids, entity_ids, scores, feature_rows(scorer.names, matrix), strict=True)
    return [
        Prediction(
            prediction_id=prediction_id,
            row_index=i,
            entity_id=entity_id,
            score=score,
            label=int(score >= threshold),
            threshold=threshold,
            features=features,
            model_version=model.version,
        )
        for i, (prediction_id, entity_id, score, features) in enumerate(rows)
    ]


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
        return [uuid_8(digest.digest()[:16]) for digest in digests]
    milliseconds, random = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(6), "big")
    # The row's number follows the time, around the version and the variant, so that the ids of
    # one request sort as its rows. Written out: uuid.UUID takes longer than all else of a row.
    begin = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7"
    return [
        f"{begin}{row >> 14 & 0xFFF:03x}-{0x8000 | row & 0x3FFF:04x}-{random:012x}"
        for row in range(n_rows)
    ]


def uuid_8(digest: bytes) -> str:
    """Return the UUID that keeps all 128 bits of `digest` but the six it must set."""
    number = int.from_bytes(digest, "big") & ~(0xF << 76) | 8 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))
