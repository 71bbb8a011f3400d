"""H2O AutoML, with a budget in models so that a search repeats exactly.

mlflow run . -e train_h2o -P data_run_id=RUN_ID
mlflow run . -e train_h2o -P data_run_id=RUN_ID -P refit_of=CANDIDATE_RUN_ID
"""

import logging
import re
import warnings
from contextlib import AbstractContextManager
from math import ceil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h2o
import mlflow
import mlflow.h2o
import numpy as np
from h2o.automl import H2OAutoML
from h2o.estimators import (
    H2OGeneralizedLinearEstimator,
    H2OGradientBoostingEstimator,
    H2ORandomForestEstimator,
    H2OXGBoostEstimator,
)
from h2o.estimators.estimator_base import H2OEstimator
from h2o.exceptions import H2ODependencyWarning
from sklearn.model_selection import train_test_split

from serving.model.mojo import GENMODEL_JAR, MOJO_FILE
from steps.engines.base import (
    Configuration,
    Engine,
    PreparedSplits,
    Split,
    TrainedModel,
    run_engine,
)
from steps.engines.h2o_cluster import own_name
from steps.engines.h2o_server import h2o_server
from steps.evaluation.metrics import Floats, ks
from steps.runtime.entry_point import step
from steps.runtime.errors import EngineError, ExportError
from steps.runtime.progress import progress, timed
from steps.runtime.requirements import pinned
from steps.workflow.cache import mark_unrepeatable

logger = logging.getLogger("ml-pipes")

# The faster way to fetch frames needs polars.
warnings.filterwarnings("ignore", category=H2ODependencyWarning)

MODELS = {"full": 12, "quick": 5}
CANDIDATES = 4
# A safety net far above the usual time: a search that it cuts off does not repeat. It grows with
# the training rows beyond ROWS_IN_MAX_SECONDS.
MAX_SECONDS = {"full": 1800, "quick": 300}
ROWS_IN_MAX_SECONDS = 250_000
# From so many rows on, XGBoost's choice is its method "approx", which is slower than histograms;
# "exact", its choice for fewer rows, is slower still.
HISTOGRAM_ROWS = 4 * 2**20
# H2O stops early and blends on rows of the training split; the rest of it is fitted on.
FIT_SHARE, STOP_SHARE = 0.8, 0.1

ESTIMATORS: dict[str, type[H2OEstimator]] = {
    "drf": H2ORandomForestEstimator,
    "gbm": H2OGradientBoostingEstimator,
    "glm": H2OGeneralizedLinearEstimator,
    "xgboost": H2OXGBoostEstimator,
}
# Parameters that belong to AutoML's own frames and stopping, not to the model.
NOT_CONFIGURATION = {
    "model_id", "training_frame", "validation_frame", "response_column", "ignored_columns",
    "nfolds", "fold_assignment", "fold_column", "max_runtime_secs", "stopping_rounds",
    "stopping_metric", "stopping_tolerance", "keep_cross_validation_models",
    "keep_cross_validation_predictions", "keep_cross_validation_fold_assignment",
    "calibration_frame", "export_checkpoints_dir", "checkpoint", "custom_metric_func",
}  # fmt: skip


class H2OEngine(Engine):
    """H2O AutoML; candidates are its best single models and its best ensemble."""

    name = "h2o"

    def __init__(self, profile: str, seed: int, url: str = "") -> None:
        self._profile = profile
        self._seed = seed
        self._url = url
        self._frames: dict[Path, h2o.H2OFrame] = {}

    def running(self, splits: PreparedSplits) -> AbstractContextManager[None]:
        """Connect to the H2O cluster, or run a local server."""
        h2o.no_progress()  # its bar is unreadable in a file
        return h2o_server(self._url, _values(splits.training) + _values(splits.validation))

    def search(self, splits: PreparedSplits) -> list[TrainedModel]:
        """Return the best models and the best ensemble by KS on the validation split."""
        automl = self._run_automl(splits)
        board = automl.leaderboard.as_data_frame()
        mlflow.log_table(board, "h2o_leaderboard.json")
        self._warn_if_incomplete(automl, list(board["model_id"]), self._max_seconds(splits))
        if board.empty:
            raise EngineError("H2O AutoML trained no model")
        validation = splits.validation
        ranked = sorted(
            (self._trained(h2o.get_model(name), _algorithm(name)) for name in board["model_id"]),
            # Ensembles may tie, and their order on H2O's leaderboard differs between runs.
            key=lambda model: (-ks(validation.y, model.scores(validation)), model.algorithm),
        )
        singles = [model for model in ranked if model.configuration is not None]
        ensembles = [model for model in ranked if model.configuration is None]
        return singles[:CANDIDATES] + ensembles[:1]

    def fit(self, configuration: Configuration, rows: Split) -> TrainedModel:
        """Fit the model of `configuration` on `rows`."""
        algo, parameters = configuration["algo"], configuration["parameters"]
        if parameters.get("tree_method") == "exact" and len(rows) >= HISTOGRAM_ROWS:
            # The search had fewer rows.
            logger.info("%s sums histograms on %s rows", algo, f"{len(rows):,}")
            parameters = parameters | {"tree_method": "hist"}
        estimator = ESTIMATORS[algo](**parameters, model_id=own_name(algo))
        frame = self._frame(rows)
        with progress(f"H2O fits {algo} on {rows.name} rows"):
            estimator.train(x=rows.features, y=rows.target, training_frame=frame)
        return self._trained(estimator, configuration["name"])

    def _run_automl(self, splits: PreparedSplits) -> H2OAutoML:
        portions = _portions(splits.training, self._seed)
        fit, stop, blend = map(self._frame, portions)
        count, limit = MODELS[self._profile], self._max_seconds(splits)
        automl = H2OAutoML(
            max_models=count,
            max_runtime_secs=limit,
            nfolds=0,
            exclude_algos=["DeepLearning"],  # it does not repeat
            algo_parameters=self._algo_parameters(len(portions[0])),
            stopping_metric="AUCPR",
            sort_metric="AUCPR",
            seed=self._seed,
        )
        with progress(f"H2O AutoML trains {count} models and their ensembles"):
            automl.train(
                x=splits.names,
                y=splits.target,
                training_frame=fit,
                validation_frame=stop,
                leaderboard_frame=stop,
                blending_frame=blend,
            )
        return automl

    def _algo_parameters(self, n_rows: int) -> dict[str, str]:
        # A cluster accepts few parameters, unless it was started like our server.
        use_histograms = n_rows >= HISTOGRAM_ROWS and not self._url
        return {"XGBoost__tree_method": "hist"} if use_histograms else {}

    def _max_seconds(self, splits: PreparedSplits) -> int:
        rows = max(len(splits.training), ROWS_IN_MAX_SECONDS)
        return ceil(MAX_SECONDS[self._profile] * rows / ROWS_IN_MAX_SECONDS)

    def _warn_if_incomplete(self, automl: H2OAutoML, names: list[str], limit: int) -> None:
        count = MODELS[self._profile]
        single = sum(not name.startswith("StackedEnsemble") for name in names)
        if int(automl.training_info["duration_secs"]) >= limit:
            logger.warning(
                "H2O AutoML reached its limit of %d s with %d of %d models; such a search does "
                "not repeat exactly, so it is not reused",
                limit,
                single,
                count,
            )
            mark_unrepeatable(f"H2O AutoML reached its limit of {limit} s")
        elif single < count:
            logger.warning("H2O AutoML trained only %d of %d models", single, count)

    def _frame(self, split: Split) -> h2o.H2OFrame:
        """Upload a split once, wherever H2O runs, with the target as a class."""
        if split.file not in self._frames:
            with timed("data"):
                frame = h2o.upload_file(str(split.file), own_name(split.file.stem))
                frame[split.target] = frame[split.target].asfactor()
                self._frames[split.file] = frame
        return self._frames[split.file]

    def _trained(self, model: Any, algorithm: str) -> TrainedModel:
        def predict(split: Split) -> Floats:
            table = model.predict(self._frame(split))["p1"].as_data_frame()
            return table["p1"].to_numpy(np.float64)

        return TrainedModel(
            algorithm=algorithm,
            configuration=_configuration(model, algorithm),
            predict=predict,
            log_native=lambda _: _log_native(model),
            export=lambda folder: _export(model, folder),
        )


def _values(split: Split) -> int:
    return len(split) * (len(split.features) + 1)


def _portions(training: Split, seed: int) -> list[Split]:
    """Divide the training rows into those to fit on, to stop early on, and to blend on."""
    held_out = 1 - FIT_SHARE
    y = training.y
    fit, rest = train_test_split(
        np.arange(len(y)), test_size=held_out, stratify=y, random_state=seed
    )
    stop, blend = train_test_split(
        rest, train_size=STOP_SHARE / held_out, stratify=y[rest], random_state=seed
    )
    portions = {"fit": fit, "stop": stop, "blend": blend}
    return [training.subset(f"h2o_{name}", places) for name, places in portions.items()]


def _algorithm(model_id: str) -> str:
    """Return AutoML's name of a model without the number of its search."""
    return re.sub(r"_AutoML_\d+_\d+_\d+", "", model_id)


def _configuration(model: Any, algorithm: str) -> Configuration | None:
    """Return the values that `model` ended up with, number of trees included."""
    if model.algo not in ESTIMATORS:
        return None  # a stacked ensemble: it would need rows to blend on again
    parameters = {
        name: value
        for name, value in model.actual_params.items()
        if value is not None and name not in NOT_CONFIGURATION
    }
    if model.algo == "glm":  # the best point of its search, not the search
        best = model._model_json["output"]
        parameters.pop("lambda", None)
        parameters |= {
            "alpha": best["alpha_best"],
            "lambda_": best["lambda_best"],
            "lambda_search": False,
        }
    if parameters.get("tree_method") == "approx":
        # On several nodes, XGBoost's choice for "auto", which H2O refuses if it is asked for.
        parameters["tree_method"] = model.params["tree_method"]["input"]
    return {"algo": model.algo, "name": algorithm, "parameters": parameters}


def _log_native(model: Any) -> None:
    # MLflow calls h2o.save_model, which saves on H2O's server, perhaps another machine.
    with patch.object(h2o, "save_model", _download_model):
        mlflow.h2o.log_model(model, name="native", pip_requirements=pinned("h2o"))


def _download_model(model: Any, path: str, force: bool = True) -> str:  # noqa: ARG001
    """Save a model on this machine, with the arguments of `h2o.save_model`."""
    saved: str = h2o.download_model(model, path)
    return saved


def _export(model: Any, folder: Path) -> str:
    path = model.download_mojo(path=str(folder), get_genmodel_jar=True)
    Path(path).replace(folder / MOJO_FILE)
    if not (folder / GENMODEL_JAR).is_file():
        raise ExportError(f"H2O delivered no {GENMODEL_JAR} with the MOJO")
    return "mojo"


@step
def train_h2o(data_run_id: str, profile: str, seed: int, h2o_url: str, refit_of: str) -> None:
    """Search with H2O AutoML, or refit one of its candidates."""
    run_engine(H2OEngine(profile, seed, h2o_url), data_run_id, refit_of)


if __name__ == "__main__":
    train_h2o()
