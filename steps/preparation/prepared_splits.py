"""Prepared splits: what engines fit and score."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import TypeAdapter

from serving.model.features import Feature, Floats
from serving.model.preparation import Encoding, Preparation
from serving.model.schema import FeatureSchema
from steps.data.feature_frames import with_columns
from steps.data.split_files import write_tables
from steps.data.splits import Split, Splits
from steps.preparation.column_names import column_names
from steps.preparation.fitting import FittedEncodings, fit_encodings, need_encodings

FIRST_FIT, REFIT = "training", "training_and_validation"
ENCODINGS = TypeAdapter(tuple[Encoding, ...])


@dataclass(frozen=True)
class FittedPreparation:
    """A preparation that was fitted on rows of splits.

    Attributes:
        features: The features.
        encodings: How features become columns; none if they are numbers with plain names.
        target: The name of the target in prepared rows.
        cross_fitted: The target rates of the rows of the fit, by feature.
    """

    features: list[Feature]
    encodings: tuple[Encoding, ...]
    target: str
    cross_fitted: dict[str, Floats]

    def apply(self, rows: Split) -> Split:
        """Return rows as engines see them, prepared as in production, in a file of their own."""
        if not self.encodings and self.target == rows.target:
            return rows
        return self._written(rows, {})

    def apply_to_fitted(self, rows: Split) -> Split:
        """Return the rows of the fit, each with target rates that do not know its own target."""
        if not self.cross_fitted:
            return self.apply(rows)
        columns = {encoding.feature: encoding.columns[0] for encoding in self.encodings}
        rates = {columns[feature]: rates for feature, rates in self.cross_fitted.items()}
        return self._written(rows, rates)

    def _written(self, rows: Split, rates: dict[str, Floats]) -> Split:
        """Write prepared rows in batches, with the given target rates in some columns."""
        file = rows.file.with_name(f"prepared_{rows.file.name}")
        preparation = Preparation(self.features, self.encodings)
        write_tables(self._tables(preparation, rows, rates), file)
        return replace(
            rows,
            file=file,
            features=preparation.columns,
            target=self.target,
            has_missing=any(f.nullable for f in self.features if f.kind != "category"),
            in_memory=None,
        )

    def _tables(
        self, preparation: Preparation, rows: Split, rates: dict[str, Floats]
    ) -> Iterator[pa.Table]:
        schema, start = FeatureSchema(self.features), 0
        for batch in rows.batches():
            end = start + len(batch)
            matrix = preparation.matrix(schema.parse_frame(batch))
            columns = {name: values[start:end] for name, values in rates.items()}
            columns[self.target] = batch[rows.target].to_numpy()
            frame = with_columns(pd.DataFrame(matrix, columns=preparation.columns), columns)
            yield pa.Table.from_pandas(frame, preserve_index=False)
            start = end


@dataclass(frozen=True)
class PreparedSplits:
    """The splits as engines see them: numbers under names that every engine accepts.

    Attributes:
        training: The rows to fit on.
        validation: The rows to compare models on.
        preparation: The way from raw rows to these.
    """

    training: Split
    validation: Split
    preparation: FittedPreparation

    @property
    def target(self) -> str:
        """The name of the target column."""
        return self.training.target

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return self.training.features

    @property
    def has_missing(self) -> bool:
        """Whether any value is missing."""
        return self.training.has_missing


def fit_preparations(splits: Splits, folder: Path, seed: int) -> None:
    """Fit the preparations of a first fit and of a refit, and write them into `folder`.

    Numbers with names that engines accept need none.
    """
    if not need_encodings(splits.features):
        return
    rows = {FIRST_FIT: [splits.training], REFIT: [splits.training, splits.validation]}
    for name, parts in rows.items():
        y = np.concatenate([part.y for part in parts])
        column = partial(_joined_column, parts)
        _write(fit_encodings(splits.features, column, y, seed), folder, name)


def _joined_column(splits: Sequence[Split], name: str) -> "pd.Series[Any]":
    return pd.concat([split.column(name) for split in splits], ignore_index=True)


def prepare(splits: Splits, *, refit: bool = False) -> PreparedSplits:
    """Return the splits as engines see them.

    Args:
        splits: The splits, with the preparations that were fitted on them.
        refit: Whether the rows to fit on are those of training and validation.
    """
    rows = splits.training_and_validation if refit else splits.training
    preparation = _read(splits, REFIT if refit else FIRST_FIT)
    return PreparedSplits(
        preparation.apply_to_fitted(rows), preparation.apply(splits.validation), preparation
    )


def _write(fitted: FittedEncodings, folder: Path, name: str) -> None:
    content = [asdict(encoding) for encoding in fitted.encodings]
    (folder / _encodings_file(name)).write_text(json.dumps(content, indent=1) + "\n")
    if fitted.cross_fitted:
        pd.DataFrame(fitted.cross_fitted).to_parquet(folder / _rates_file(name), index=False)


def _read(splits: Splits, name: str) -> FittedPreparation:
    file = splits.optional_file(_encodings_file(name))
    encodings = ENCODINGS.validate_json(file.read_bytes()) if file else ()
    taken = [column for encoding in encodings for column in encoding.columns]
    (target,) = column_names([splits.target], taken)
    rates = splits.optional_file(_rates_file(name))
    cross_fitted = pd.read_parquet(rates) if rates else pd.DataFrame()
    return FittedPreparation(
        splits.features,
        encodings,
        target,
        {str(feature): values.to_numpy() for feature, values in cross_fitted.items()},
    )


def _encodings_file(name: str) -> str:
    return f"preparation_of_{name}.json"


def _rates_file(name: str) -> str:
    return f"target_rates_of_{name}.parquet"
