"""Manifest of a portable scorer."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from serving.errors import ScorerError, field_path
from serving.model.features import ENTITY_ID, Feature
from serving.model.preparation import Encoding
from serving.model.probabilities import Calibration

FORMAT_VERSION = 2
# Ensembles have a folder for each member, which earlier releases do not know.
ENSEMBLE, ENSEMBLE_FORMAT_VERSION = "ensemble", 3
# Earlier releases would ignore a calibration, while the threshold is one of calibrated scores.
CALIBRATED_FORMAT_VERSION = 4
MANIFEST = "manifest.json"
# The rounding of weights that add up to 1.
WEIGHTS_TOLERANCE = 1e-9


def _with_distinct_names(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    if not features:
        raise ValueError("must name at least one feature")
    names = [feature.name for feature in features]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"repeats the names {repeated}")
    return features


@dataclass(frozen=True)
class Member:
    """A member of an ensemble.

    Attributes:
        name: engine and algorithm, for people.
        kind: the runtime of its model, "onnx" or "mojo".
        weight: its share of the ensemble's log-odds.
        positive_weight: weight of a positive row in its fit, relative to a negative one.
        encodings: how features become its input; None if they are those of the ensemble.
    """

    name: str
    kind: Annotated[str, Field(pattern="^(onnx|mojo)$")]
    weight: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    positive_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    encodings: tuple[Encoding, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """Description of a scorer.

    Attributes:
        kind: the runtime of its model, "onnx" or "mojo"; or "ensemble".
        features: the input columns.
        encodings: how features become the model's input; a feature without one is a number.
        id_column: the column of the callers' own ids.
        target: the name of the target column; empty in earlier releases.
        classes: the values of the target that stand for class 0 and class 1.
        threshold: scores at or above it are labelled 1.
        threshold_rule: the rule that chose the threshold, such as "ks" or "cost=500:10".
        positive_weight: weight of a positive row in the fit, relative to a negative one.
        calibration: of the scores, after the correction for `positive_weight`; None for none.
        reference: statistics of the training rows (see `steps.data.feature_statistics`), which
            monitoring needs to recognise values out of their range.
        example: two rows of raw values by column, with ids; empty in earlier releases.
        reference_rows: rows of raw values by column that explanations start from (see
            `serving.model.explanations`); empty in earlier releases.
        members: the members of an ensemble; empty for a single model.
        format_version: version of the scorer's folder layout.
    """

    kind: Annotated[str, Field(pattern="^(onnx|mojo|ensemble)$")]
    features: Annotated[tuple[Feature, ...], AfterValidator(_with_distinct_names)]
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    positive_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    reference: dict[str, Any] = field(default_factory=dict)
    threshold_rule: str = "ks"
    encodings: tuple[Encoding, ...] = ()
    id_column: str = ENTITY_ID
    target: str = ""
    classes: tuple[str, str] = ("0", "1")
    example: dict[str, list[Any]] = field(default_factory=dict)
    reference_rows: dict[str, list[Any]] = field(default_factory=dict)
    members: tuple[Member, ...] = ()
    calibration: Calibration | None = None
    format_version: int = FORMAT_VERSION

    @property
    def model_kinds(self) -> list[str]:
        """The runtimes of its models: one, or one for each member."""
        return [member.kind for member in self.members] or [self.kind]

    def with_calibration(self, calibration: Calibration | None, threshold: float) -> Self:
        """Return the manifest with a calibration, and a threshold of calibrated scores."""
        version = CALIBRATED_FORMAT_VERSION if calibration else self.format_version
        return replace(self, calibration=calibration, threshold=threshold, format_version=version)

    def write(self, folder: Path) -> None:
        """Write the manifest to `folder`."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and validate the manifest in `folder`; unknown keys are ignored.

        Raises:
            ScorerError: the manifest is missing, damaged, or of a newer format.
        """
        try:
            text = (folder / MANIFEST).read_text()
            _check_version(folder, json.loads(text)["format_version"])
            manifest = TypeAdapter(cls).validate_json(text, strict=True)
            _check_encodings(manifest.features, manifest.encodings)
            _check_members(manifest)
            _check_not_id(manifest.features, manifest.id_column)
            return manifest
        except ValidationError as error:
            raise ScorerError(f"{folder}: {MANIFEST}: {_described(error)}") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ScorerError(f"{folder}: {MANIFEST} cannot be read: {error}") from error


def _check_version(folder: Path, version: Any) -> None:
    if type(version) is not int or version < 1:
        raise ValueError(f"format_version must be a positive integer, not {version!r}")
    if version > CALIBRATED_FORMAT_VERSION:
        raise ScorerError(
            f"{folder}: scorer format {version} is not supported, only formats up to "
            f"{CALIBRATED_FORMAT_VERSION}: update ml-pipes"
        )


def _check_not_id(features: Sequence[Feature], id_column: str) -> None:
    for place, feature in enumerate(features):
        if feature.name == id_column:
            raise ValueError(
                f"features[{place}].name: must not be {id_column!r}: callers send the ids of rows "
                "under it"
            )


def _check_encodings(features: Sequence[Feature], encodings: Sequence[Encoding]) -> None:
    """Check that the encodings lead to one matrix.

    Raises:
        ValueError: a feature is unknown, has no encoding that it needs, or an encoding has rows
            of another width.
    """
    kinds = {feature.name: feature.kind for feature in features}
    given = {encoding.feature: encoding for encoding in encodings}
    if unknown := sorted(given.keys() - kinds.keys()):
        raise ValueError(f"encodings: {unknown} are no features")
    for name, kind in kinds.items():
        encoding = given.get(name)
        if kind in ("category", "date") and encoding is None:
            raise ValueError(f"encodings: the {kind} {name!r} has none")
        if encoding and not encoding.fits(kind):
            raise ValueError(f"encodings: that of {name!r} does not fit a {kind}")
    columns = [column for encoding in encodings for column in encoding.columns]
    if len(set(columns)) < len(columns):
        raise ValueError("encodings: a column is repeated")


def _check_members(manifest: Manifest) -> None:
    """Check that an ensemble, and nothing else, has members whose weights add up to 1.

    Raises:
        ValueError: they do not, or the encodings of a member do not lead to a matrix.
    """
    if (manifest.kind == ENSEMBLE) != bool(manifest.members):
        raise ValueError(f"members: a scorer of kind {manifest.kind!r} has {len(manifest.members)}")
    total = sum(member.weight for member in manifest.members)
    if manifest.members and abs(total - 1) > WEIGHTS_TOLERANCE:
        raise ValueError(f"members: the weights must add up to 1, not to {total:.6g}")
    for member in manifest.members:
        if member.encodings is not None:
            _check_encodings(manifest.features, member.encodings)


def _described(error: ValidationError) -> str:
    """Return each invalid field with its rule."""
    return "; ".join(
        f"{field_path(problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_input=False, include_url=False)
    )
