"""Prediction ids: UUIDs that are time-ordered, or derived from a request.

`uuid.UUID` takes longer than all other work on a row, so time-ordered ids are formatted here.
"""

import hashlib
import os
import time
import uuid


def prediction_ids(
    n_rows: int, request_id: str | None = None, model_name: str | None = None
) -> list[str]:
    """Return `n_rows` unique ids: derived from `request_id` if there is one, else time-ordered.

    Time-ordered ids (UUID version 7, RFC 9562) keep inserts at the end of the index. Derived
    ids (version 8) are the same in a retry; a request id belongs to one model.
    """
    if request_id is not None:
        seed = f"{model_name or ''}\0{request_id}"
        digests = (hashlib.sha256(f"{row}\0{seed}".encode()) for row in range(n_rows))
        return [uuid_8(digest.digest()[:16]) for digest in digests]
    milliseconds, random = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(6), "big")
    # The row number follows the time, around the version and variant bits: the ids of a request
    # sort in the order of its rows.
    begin = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7"
    return [
        f"{begin}{row >> 14 & 0xFFF:03x}-{0x8000 | row & 0x3FFF:04x}-{random:012x}"
        for row in range(n_rows)
    ]


def uuid_8(digest: bytes) -> str:
    """Return the UUID of version 8 with the 128 bits of `digest`, but for version and variant."""
    number = int.from_bytes(digest, "big") & ~(0xF << 76) | 8 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))
