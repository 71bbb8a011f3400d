"""JSON bodies: strict parsing that delays other requests little.

While orjson parses, no other request is answered: bodies of extreme shape are refused before.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from serving.web.problems import invalid

MAX_NAMES = 10_000
MAX_VALUES = 1_000_000
GZIP = b"\x1f\x8b"
# Longer names are cut in messages.
SHOWN_CHARACTERS = 100
# The strings of a document in their order; a colon follows those that name a member.
STRINGS = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"\s*+(:?)|\\?\Z)', re.DOTALL)


def parse_json(body: bytes, max_values: int = MAX_VALUES) -> Any:
    """Return the JSON value in `body`.

    Raises:
        InvalidRequestError: the body is empty, not JSON in UTF-8, has an object with two members
            of the same name, or too many names or values.
    """
    if not body:
        raise invalid("body", "must not be empty", status=400)
    check_not_compressed(body)
    if body.count(b",") > max_values:
        raise invalid("body", f"must have at most {max_values} values", status=413)
    colons = body.count(b":")
    if colons > MAX_NAMES:
        _check_names(body)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"must be JSON in UTF-8: {error}", status=400) from None
    # Each member has a colon; more colons are in texts, in deeper objects, or of repeated names.
    if type(content) is dict and colons == len(content):
        return content
    n_members = _count_members(content)
    if colons != n_members and sum(1 for _ in _names(body)) != n_members:
        _check_unique_names(body)
    return content


def check_not_compressed(body: bytes) -> None:
    """Check that a body is not compressed.

    Raises:
        InvalidRequestError: it is.
    """
    if body.startswith(GZIP):
        raise invalid("body", "must not be compressed, is gzip", status=415)


def shown(name: str) -> str:
    """Return the beginning of a name for a message."""
    return name[:SHOWN_CHARACTERS]


def _names(body: bytes) -> Iterator[bytes]:
    return (text for text, colon in map(re.Match.groups, STRINGS.finditer(body)) if colon)


def _check_names(body: bytes) -> None:
    found: set[bytes] = set()
    for name in _names(body):
        found.add(name)
        if len(found) > MAX_NAMES:
            raise invalid("body", f"must have at most {MAX_NAMES} names of columns", status=413)


def _count_members(value: Any) -> int:
    """Count the members of an object, of the objects in it, and of those in lists of objects."""
    if type(value) is not dict:
        return 0
    count = len(value)
    for inner in value.values():
        if type(inner) is dict:
            count += len(inner)
        elif type(inner) is list and inner and type(inner[0]) is dict:
            count += sum(len(item) for item in inner if type(item) is dict)
    return count


def _check_unique_names(body: bytes) -> None:
    def check(members: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in members]
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise invalid(shown(repeated), "must be given once, is repeated")

    try:
        json.loads(body, object_pairs_hook=check)
    except RecursionError:
        raise invalid("body", "must not be nested so deeply", status=400) from None
