"""Encodings of text files, and their conversion to UTF-8."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from steps.runtime.errors import SourceError

SAMPLE_BYTES = 2**20
CHUNK_BYTES = 2**22
UTF_8 = "utf-8"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# The bytes that windows-1252 leaves undefined.
ONLY_IN_LATIN_1 = (b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d")


def encoding_of(file: Path) -> str:
    """Return the encoding of a text file as a codec of Python.

    It follows from the byte order mark, from the zeros of UTF-16, or from bytes that UTF-8 does
    not allow; then it is windows-1252, or latin-1 if there are bytes that windows-1252 lacks.
    """
    with file.open("rb") as stream:
        head = stream.read(SAMPLE_BYTES)
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    zeros = [head[start::2].count(0) for start in (0, 1)]
    if max(zeros) > len(head) // 8:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    if _is_utf_8(file):
        return UTF_8
    return "latin-1" if any(_contains(file, byte) for byte in ONLY_IN_LATIN_1) else "cp1252"


def decoded(file: Path, encoding: str) -> Iterator[str]:
    """Yield the text of a file in pieces, lines ending in LF.

    Raises:
        SourceError: the text is in another encoding, or there is no such encoding.
    """
    try:
        with file.open(encoding=encoding, newline=None) as stream:
            while text := stream.read(CHUNK_BYTES):
                yield text
    except LookupError:
        raise SourceError(
            f"unknown encoding {encoding!r}; use a Python codec name, such as cp1252"
        ) from None
    except UnicodeError as error:
        raise SourceError(
            f"not encoded in {encoding} ({error}); append #encoding=NAME to the path"
        ) from None


def convert_to_utf_8(file: Path, encoding: str, target: Path) -> None:
    """Write the text of `file` to `target` in UTF-8, lines ending in LF."""
    with target.open("w", encoding=UTF_8, newline="") as stream:
        for text in decoded(file, encoding):
            stream.write(text)


def _is_utf_8(file: Path) -> bool:
    decoder = codecs.getincrementaldecoder(UTF_8)()
    with file.open("rb") as stream:
        try:
            while data := stream.read(CHUNK_BYTES):
                decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _contains(file: Path, byte: bytes) -> bool:
    with file.open("rb") as stream:
        return any(byte in data for data in iter(lambda: stream.read(CHUNK_BYTES), b""))
