"""The parameters that say what a table means."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.model.features import ENTITY_ID


@dataclass(frozen=True)
class Rules:
    """The parameters of a split.

    Attributes:
        target: the column to predict, with two values.
        time_column: orders the rows and is not a feature; may be absent.
        split: "temporal", "stratified", or "auto": temporal if the table has the time column.
        duplicates: "drop", "keep", or "auto": drop if a time or an id is among what is equal.
        seed: the random state of a stratified split.
        positive: the value of the target that is class 1; empty to choose one.
        drop: the columns to leave out.
        categorical: the columns that are categories, whatever their values look like.
        numeric: the columns that are numbers and features, whatever their values look like.
        id_column: the callers' keys of the rows, no feature; may be absent if it is `id`.
    """

    target: str
    time_column: str = "Time"
    split: str = "auto"
    duplicates: str = "auto"
    seed: int = 42
    positive: str = ""
    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    id_column: str = ENTITY_ID
