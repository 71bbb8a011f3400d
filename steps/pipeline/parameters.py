"""The type of each parameter. Defaults stand in `MLproject` alone."""

import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import click
import yaml

PROJECT = Path(__file__).resolve().parents[2]
ENGINE_PREFIX = "train_"
LONGEST_MODEL_NAME = 255  # as the prediction log keeps it


@cache
def entry_points() -> dict[str, Any]:
    """Return the entry points of this project, as `MLproject` declares them."""
    declared: dict[str, Any] = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
    return declared


def engine_names() -> list[str]:
    """Return the engines of this project: each entry point `train_NAME` of `MLproject`."""
    return [
        name.removeprefix(ENGINE_PREFIX)
        for name in entry_points()
        if name.startswith(ENGINE_PREFIX)
    ]


def as_given(logged: dict[str, str]) -> dict[str, str]:
    """Return the values of parameters that MLflow logged as its shell would read them."""
    return {name: "".join(shlex.split(value)) for name, value in logged.items()}  # "''" is empty


class CommaList(click.ParamType[list[str]]):
    """Values separated by commas, each once."""

    name = "list"

    def __init__(self, choices: list[str] | None = None) -> None:
        self.choices = choices

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the parts of `value`."""
        parts = list(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))
        if not parts:
            self.fail("must name at least one", param, ctx)
        for part in parts:
            if self.choices and part not in self.choices:
                self.fail(f"{part!r} is not one of {', '.join(self.choices)}", param, ctx)
        return parts


class ModelName(click.ParamType[str]):
    """A name that the registry takes."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return `value`."""
        if not re.fullmatch(r"[\w.-][\w. -]*", str(value)):
            self.fail(
                f"{value!r} must consist of letters, digits, blanks and the signs . _ -", param, ctx
            )
        if len(str(value)) > LONGEST_MODEL_NAME:
            self.fail(f"must have at most {LONGEST_MODEL_NAME} characters", param, ctx)
        return str(value)


class NonEmpty(click.ParamType[str]):
    """Text that is not empty."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return `value` without surrounding blanks."""
        if not (text := str(value).strip()):
            self.fail("must not be empty", param, ctx)
        return text


class Moment(click.ParamType[datetime]):
    """A date or time in ISO 8601, in UTC unless it says otherwise."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment."""
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-01-31T12:00:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Span(click.ParamType[timedelta]):
    """A length of time such as 7d, 36h or 90m."""

    name = "span"
    UNITS: ClassVar = {"d": "days", "h": "hours", "m": "minutes"}

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return its length."""
        found = re.fullmatch(r"([1-9][0-9]{0,5})([dhm])", str(value).strip())
        if not found:
            self.fail(f"{value!r} is not a span such as 7d, 36h or 90m", param, ctx)
        return timedelta(**{self.UNITS[found[2]]: int(found[1])})


class Optional(click.ParamType[Any]):
    """A value of another type, or nothing."""

    name = "optional"

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, None if it is empty."""
        if not str(value).strip():
            return None
        return self.kind.convert(value, param, ctx)


class NewPath(click.ParamType[Path]):
    """The path of a file or folder that is not there yet."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        path = Path(str(value))
        if not str(value).strip():
            self.fail("must not be empty", param, ctx)
        if path.exists():
            self.fail(f"{value!r} is there already: remove it or take another name", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r}", param, ctx)
        return path


@dataclass(frozen=True)
class Parameter:
    """What a parameter takes, and what it means to a user."""

    type: click.ParamType[Any]
    help: str


PARAMETERS: dict[str, Parameter] = {
    "data": Parameter(
        NonEmpty(),
        "`creditcard`: the full real set, fetched once, verified, cached; `sample`: the real "
        "sample in this repository; else the path or URI of a CSV or Parquet file",
    ),
    "target": Parameter(NonEmpty(), "the column with 0 and 1"),
    "time_column": Parameter(click.STRING, "orders the rows; never a feature; may be absent"),
    "split": Parameter(
        click.Choice(["auto", "temporal", "stratified"]),
        "60/20/20 by row count: `temporal` (in time order), `stratified` (random), `auto` "
        "(temporal where the time column is there)",
    ),
    "metric": Parameter(
        click.Choice(["ks", "roc_auc", "average_precision"]),
        "what decides, among candidates and against the present champion: `ks`, `roc_auc`, "
        "`average_precision`",
    ),
    "engines": Parameter(CommaList(engine_names()), "any of the engines, by comma"),
    "profile": Parameter(
        click.Choice(["full", "quick"]), "`full`, or `quick`: smaller searches, for trying out"
    ),
    "refit": Parameter(
        click.BOOL, "fit the winner again on training and validation rows before the test"
    ),
    "promotion": Parameter(
        click.Choice(["auto", "better", "significant", "always"]),
        "when the winner replaces the champion, on the same test rows: `better` (a higher "
        "metric), `significant` (the 95 % interval of the paired difference lies above zero), "
        "`always`; `auto`: not significantly worse if it was fitted on newer or more rows, else "
        "`significant`",
    ),
    "seed": Parameter(click.IntRange(0, 2**31 - 1), "same seed and data: same candidates"),
    "model_name": Parameter(ModelName(), "the registered model"),
    "cache": Parameter(
        click.BOOL, "reuse finished steps whose code, lock, parameters and inputs are unchanged"
    ),
    "spark_master": Parameter(
        NonEmpty(),
        "a Spark master URL; the workers must share this machine's temporary folder (`TMPDIR`)",
    ),
    "h2o_url": Parameter(click.STRING, "an H2O cluster to use instead of a local one"),
    "data_run_id": Parameter(NonEmpty(), "the run of a finished `load_data`"),
    "training_run_ids": Parameter(CommaList(), "the runs of finished training steps, by comma"),
    "refit_of": Parameter(click.STRING, "the run of a candidate to fit again, instead of a search"),
    "output": Parameter(
        NewPath(), "the file (`.csv` or `.parquet`) or folder to write; it must not be there yet"
    ),
    "since": Parameter(
        Optional(Moment()), "from this time on (ISO 8601, UTC unless it says otherwise)"
    ),
    "until": Parameter(Optional(Moment()), "to before this time"),
    "window": Parameter(
        Span(), "how far back from now, such as `7d`, `36h` or `90m`; not with the three after it"
    ),
    "last": Parameter(Optional(click.IntRange(min=1)), "the last so many predictions"),
    "psi_limit": Parameter(
        click.FloatRange(min=0, min_open=True),
        "the population stability index above which a feature, or the score, has drifted",
    ),
    "drift_share": Parameter(
        click.FloatRange(0, 1, min_open=True), "the share of drifted features that counts as drift"
    ),
    "metric_floor": Parameter(
        Optional(click.FloatRange(0, 1)),
        "the champion is degraded when its live metric is below; empty: the lower end of the "
        "95 % interval that it had on the test rows",
    ),
    "retrain": Parameter(
        click.Choice(["never", "auto", "always"]),
        "`auto`: when drift or degradation is found that led to no retraining yet; `never`; "
        "`always`",
    ),
    "folder": Parameter(
        NonEmpty(), "the folder that the demo makes for its data and its prediction log"
    ),
    "clean": Parameter(click.BOOL, "only remove what an earlier demo left"),
    "before": Parameter(Moment(), "predictions made before this time are removed (ISO 8601)"),
    "input": Parameter(
        NonEmpty(), "Parquet or CSV to score: a file, folder or URI that Spark's workers can read"
    ),
    "log_predictions": Parameter(
        click.BOOL, "write the predictions to the prediction log, too, so that `monitor` sees them"
    ),
    "log_uri": Parameter(
        click.STRING,
        "the prediction log; empty: the variable PREDICTION_LOG_URI, which is the place for a URL "
        "with a password, since MLflow records parameters; else `predictions.db` here",
    ),
}
