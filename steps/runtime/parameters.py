"""The parameters of all entry points: types and help texts. Their defaults are in `MLproject`."""

from dataclasses import dataclass
from datetime import datetime

import click

from steps.runtime.errors import ParameterError
from steps.runtime.mlproject import engine_names
from steps.runtime.parameter_types import (
    ParameterType,
    column_list,
    comma_list,
    comma_list_of,
    duration,
    model_name,
    new_path,
    non_empty,
    not_blank,
    optional,
    threshold_rule,
    time,
)


def check_window(since: datetime | None, until: datetime | None) -> None:
    """Check that a time window is not empty.

    Raises:
        ParameterError: `since` is not before `until`.
    """
    if since and until and since >= until:
        raise ParameterError(f"since: {since} must be before until, {until}")


@dataclass(frozen=True)
class Parameter:
    """The type of a parameter and its help text."""

    type: ParameterType
    help: str


PARAMETERS: dict[str, Parameter] = {
    "data": Parameter(
        non_empty,
        "`creditcard`: the full real data set, downloaded once, verified and cached; `sample`: the "
        "real sample in this repository; otherwise the path, folder, glob or URI of CSV or Parquet "
        "files, or the URL of a database, without its password: MLflow records parameters",
    ),
    "query": Parameter(
        click.STRING,
        "SQL file to run if `data` is a database URL; if empty, name a table with `?table=NAME` in "
        "the URL",
    ),
    "duplicates": Parameter(
        click.Choice(["auto", "drop", "keep"]),
        "`drop`: equal rows are kept once; `keep`: they are independent observations; `auto`: "
        "`drop` if the data has a time or id column, otherwise `keep`",
    ),
    "target": Parameter(not_blank, "the column to predict, with two values"),
    "positive": Parameter(
        click.STRING,
        "value of the target that is class 1; empty: 1 of 0 and 1, `true`, `yes` and their like, "
        "else the rarer value",
    ),
    "drop": Parameter(
        column_list, "columns to leave out, separated by commas; quote names with commas as in CSV"
    ),
    "categorical": Parameter(column_list, "columns to use as categories, such as codes in digits"),
    "numeric": Parameter(
        column_list, "columns to use as numbers, such as a number that looks like an identifier"
    ),
    "id_column": Parameter(
        click.STRING,
        "your own key of each row; never used as a feature; `id` may be missing from the data",
    ),
    "time_column": Parameter(
        click.STRING, "orders the rows; never used as a feature; may be missing from the data"
    ),
    "split": Parameter(
        click.Choice(["auto", "temporal", "stratified"]),
        "60/20/20 by row count: `temporal` (in time order), `stratified` (random), `auto` "
        "(`temporal` if the data has the time column)",
    ),
    "metric": Parameter(
        click.Choice(["ks", "roc_auc", "average_precision"]),
        "ranks the candidates and decides on promotion: `ks`, `roc_auc` or `average_precision`",
    ),
    "engines": Parameter(
        comma_list_of(engine_names()), "the engines to train with, separated by commas"
    ),
    "profile": Parameter(
        click.Choice(["full", "quick"]), "`full`, or `quick`: a small search, to try things out"
    ),
    "refit": Parameter(
        click.BOOL, "refit the winner on training and validation rows before the test"
    ),
    "promotion": Parameter(
        click.Choice(["auto", "better", "significant", "always"]),
        "when the challenger replaces the champion, compared on the same test rows: `better` (its "
        "metric is higher), `significant` (the 95 % interval of the paired difference lies above "
        "zero), `always`, `auto` (better than chance, and, if fitted on newer or more rows, "
        "not inferior by a margin to the champion and to the last version promoted as "
        "significantly better; otherwise `significant`)",
    ),
    "threshold": Parameter(
        threshold_rule,
        "how the threshold is chosen on validation rows: `ks`, `cost=MISS:ALARM` (lowest cost of "
        "missed positives and false alarms), `alerts=SHARE%` (at most this share of rows), "
        "`precision=P` or `recall=R` (at least); changing it trains nothing",
    ),
    "seed": Parameter(
        click.IntRange(0, 2**31 - 1),
        "random seed of stratified splits and of the engines: the same seed and data give the same "
        "candidates",
    ),
    "model_name": Parameter(model_name, "name of the registered model"),
    "cache": Parameter(
        click.BOOL,
        "reuse finished steps whose code, locked packages, parameters and inputs are unchanged",
    ),
    "spark_master": Parameter(
        non_empty,
        "Spark master URL; the workers must share this machine's temporary folder (`TMPDIR`) or, "
        "to train, read and write the artifacts of runs",
    ),
    "h2o_url": Parameter(click.STRING, "URL of an H2O cluster to use instead of a local server"),
    "data_run_id": Parameter(non_empty, "run of a finished `load_data`"),
    "training_run_ids": Parameter(
        comma_list, "runs of finished training steps, separated by commas"
    ),
    "refit_of": Parameter(click.STRING, "run of a candidate to refit instead of searching"),
    "output": Parameter(
        new_path, "file (`.csv` or `.parquet`) or folder to write; must not exist yet"
    ),
    "since": Parameter(
        optional(time), "start of the time range (ISO 8601, UTC if without an offset), inclusive"
    ),
    "until": Parameter(optional(time), "end of the time range, exclusive"),
    "window": Parameter(
        duration,
        "how far to look back from now, such as `7d`, `36h` or `90m`; ignored if since, until or "
        "last is given",
    ),
    "last": Parameter(
        optional(click.IntRange(min=1)), "number of latest predictions, instead of a time range"
    ),
    "psi_limit": Parameter(
        click.FloatRange(min=0, min_open=True),
        "population stability index above which a feature, or the score, has drifted",
    ),
    "drift_share": Parameter(
        click.FloatRange(0, 1, min_open=True), "share of drifted features that counts as drift"
    ),
    "metric_floor": Parameter(
        optional(click.FloatRange(0, 1)),
        "live metric below which, beyond chance, the champion is degraded; empty: the one-sided "
        "99 % lower bound of the metric on the test rows",
    ),
    "retrain": Parameter(
        click.Choice(["never", "auto", "always"]),
        "`never`; `auto`: on drift or degradation that has not caused a retraining yet; `always`",
    ),
    "promote": Parameter(
        click.Choice(["never", "auto"]),
        "`never`, or `auto`: make the challenger in the shadow the champion if it wins, by the "
        "rule of `promotion=auto`, on labelled predictions that both have scored",
    ),
    "folder": Parameter(non_empty, "folder to create for the demo's data and prediction log"),
    "clean": Parameter(click.BOOL, "only remove what an earlier demo created"),
    "before": Parameter(time, "delete the predictions made before this time (ISO 8601)"),
    "input": Parameter(
        non_empty, "Parquet or CSV to score: a file, folder or URI that Spark's workers can read"
    ),
    "log_predictions": Parameter(
        click.BOOL, "write the predictions to the prediction log, too, for `monitor` to read"
    ),
    "log_uri": Parameter(
        click.STRING,
        "URL of the prediction log; empty: the environment variable PREDICTION_LOG_URI, else "
        "`predictions.db` in the current folder. Put a URL with a password into the variable: "
        "MLflow records parameters",
    ),
}
