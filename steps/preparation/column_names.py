"""Names of prepared columns, which every engine accepts."""

import re
from collections.abc import Collection, Sequence

PLAIN = re.compile(r"[A-Za-z]\w{0,59}", re.ASCII)
# Columns that engines add, or that mean something to them.
RESERVED = frozenset(
    (
        "features", "fold", "id", "index", "label", "offset", "p0", "p1", "predict", "prediction",
        "predictions", "probability", "rawprediction", "row", "score", "target", "weight",
    )
)  # fmt: skip
RESERVED_PREFIX = "ml_pipes"


def column_names(names: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Return a name for each of the user's names, as similar to it as engines allow.

    Engines accept ASCII letters, digits and underscores; names that differ in case only are one
    name to Spark.

    Args:
        names: The user's names.
        taken: Names to avoid.
    """
    used = {name.lower() for name in taken}
    found: dict[int, str] = {}
    own = [place for place, name in enumerate(names) if _is_plain(name)]
    others = [place for place in range(len(names)) if place not in set(own)]
    for place in [*own, *others]:  # plain names stay, as far as they are distinct
        name = _unused(_plain(names[place], place), used)
        used.add(name.lower())
        found[place] = name
    return [found[place] for place in range(len(names))]


def _is_plain(name: str) -> bool:
    is_reserved = name.lower() in RESERVED or name.lower().startswith(RESERVED_PREFIX)
    return PLAIN.fullmatch(name) is not None and not is_reserved


def _plain(name: str, place: int) -> str:
    if _is_plain(name):
        return name
    similar = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:50]
    return similar if _is_plain(similar) else f"column_{place + 1}"


def _unused(name: str, used: Collection[str]) -> str:
    candidate, number = name, 2
    while candidate.lower() in used:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
