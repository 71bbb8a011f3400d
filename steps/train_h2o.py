"""Let H2O AutoML search, with a budget in models so that it repeats exactly.

mlflow run . -e train_h2o -P data_run_id=RUN_ID
mlflow run . -e train_h2o -P data_run_id=RUN_ID -P refit_of=CANDIDATE_RUN_ID
"""

import logging
import os
import re
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import h2o
import mlflow
import mlflow.h2o
import numpy as np
import psutil
from h2o.automl import H2OAutoML
from h2o.estimators import (
    H2OGeneralizedLinearEstimator,
    H2OGradientBoostingEstimator,
    H2ORandomForestEstimator,
    H2OXGBoostEstimator,
)
from h2o.estimators.estimator_base import H2OEstimator
from h2o.exceptions import H2ODependencyWarning, H2OError, H2OServerError
from sklearn.model_selection import train_test_split

from serving.graphs import GENMODEL_JAR, MOJO_FILE
from serving.java import use_java
from steps.pipeline.candidates import (
    Configuration,
    Fitted,
    read_configuration,
    record_candidate,
    record_refit,
)
from steps.pipeline.errors import EngineError, ExportError
from steps.pipeline.evaluation import ks
from steps.pipeline.processes import tied_process, watched
from steps.pipeline.progress import progress, spent_on
from steps.pipeline.requirements import pinned
from steps.pipeline.splits import Part, Splits, open_splits, write_parquet
from steps.pipeline.step import step

log = logging.getLogger("ml-pipes")

# Frames come back in one thread: the faster way needs polars.
warnings.filterwarnings("ignore", category=H2ODependencyWarning)

ENGINE = "h2o"
MODELS = {"full": 12, "quick": 5}
CANDIDATES = 4
# A safety net: it should never be reached, for what it cuts off does not repeat.
SECONDS_AT_MOST = {"full": 1800, "quick": 300}
# H2O stops early and blends on rows that come out of the training split.
FIT_SHARE, STOP_SHARE = 0.8, 0.1
START_SECONDS = 60
# So begins what H2O's client says of a failed job, in a plain OSError.
FAILED_JOB = "Job with key "

ESTIMATORS: dict[str, type[H2OEstimator]] = {
    "drf": H2ORandomForestEstimator,
    "gbm": H2OGradientBoostingEstimator,
    "glm": H2OGeneralizedLinearEstimator,
    "xgboost": H2OXGBoostEstimator,
}
# What AutoML sets that belongs to its own frames and its own way of stopping.
NOT_CONFIGURATION = {
    "model_id", "training_frame", "validation_frame", "response_column", "ignored_columns",
    "nfolds", "fold_assignment", "fold_column", "max_runtime_secs", "stopping_rounds",
    "stopping_metric", "stopping_tolerance", "keep_cross_validation_models",
    "keep_cross_validation_predictions", "keep_cross_validation_fold_assignment",
    "calibration_frame", "export_checkpoints_dir", "checkpoint", "custom_metric_func",
}  # fmt: skip


@step
def train_h2o(data_run_id: str, profile: str, seed: int, h2o_url: str, refit_of: str) -> None:
    """Search with H2O AutoML, or fit one of its models again on more rows."""
    h2o.no_progress()  # ours is readable in a file, too
    configuration = read_configuration(refit_of, ENGINE) if refit_of else None
    with open_splits(data_run_id) as splits, h2o_server(h2o_url):
        if configuration is not None:
            record_refit(ENGINE, refit(splits, configuration), splits, refit_of)
        else:
            for fitted in search(splits, profile, seed):
                record_candidate(ENGINE, fitted, splits)


def search(splits: Splits, profile: str, seed: int) -> list[Fitted]:
    """Return the best models and the best ensemble by KS on the validation split, best first."""
    with spent_on("data"):
        fit, stop, blend = map(_upload, _portions(splits.training, seed))
    automl = H2OAutoML(
        max_models=MODELS[profile],
        max_runtime_secs=SECONDS_AT_MOST[profile],
        nfolds=0,
        exclude_algos=["DeepLearning"],  # it does not repeat
        stopping_metric="AUCPR",
        sort_metric="AUCPR",
        seed=seed,
    )
    with progress(f"H2O AutoML trains {MODELS[profile]} models and their ensembles"):
        automl.train(
            x=splits.names,
            y=splits.target,
            training_frame=fit,
            validation_frame=stop,
            leaderboard_frame=stop,
            blending_frame=blend,
        )
    board = automl.leaderboard.as_data_frame()
    mlflow.log_table(board, "h2o_leaderboard.json")
    _warn_of_losses(automl, list(board["model_id"]), profile)
    if board.empty:
        raise EngineError("H2O AutoML gave no model; see its messages above")
    with spent_on("data"):
        validation = _upload(splits.validation)
    y = splits.validation.y
    ranked = sorted(
        (_fitted(h2o.get_model(name), validation, _algorithm(name)) for name in board["model_id"]),
        # Ensembles may be equal, and their order on H2O's leaderboard differs from run to run.
        key=lambda fitted: (-ks(y, fitted.scores), fitted.algorithm),
    )
    singles = [fitted for fitted in ranked if fitted.configuration is not None]
    ensembles = [fitted for fitted in ranked if fitted.configuration is None]
    return singles[:CANDIDATES] + ensembles[:1]


def refit(splits: Splits, configuration: Configuration) -> Fitted:
    """Return the model of `configuration`, fitted on training and validation rows."""
    estimator = ESTIMATORS[configuration["algo"]](**configuration["parameters"])
    with spent_on("data"):
        rows, validation = map(_upload, (splits.training_and_validation(), splits.validation))
    with progress(f"H2O fits {configuration['algo']} on training and validation rows"):
        estimator.train(x=splits.names, y=splits.target, training_frame=rows)
    return _fitted(estimator, validation, configuration["name"])


def _warn_of_losses(automl: H2OAutoML, names: list[str], profile: str) -> None:
    single = sum(not name.startswith("StackedEnsemble") for name in names)
    if int(automl.training_info["duration_secs"]) >= SECONDS_AT_MOST[profile]:
        log.warning(
            "H2O AutoML was cut off after %d s with %d of %d models: such a search does not repeat",
            SECONDS_AT_MOST[profile],
            single,
            MODELS[profile],
        )
    elif single < MODELS[profile]:
        log.warning("H2O AutoML gave only %d of %d models", single, MODELS[profile])


def _portions(training: Part, seed: int) -> list[Part]:
    """Divide the training rows into those to fit on, to stop early on, and to blend on."""
    held_out = 1 - FIT_SHARE
    classes = training.frame[training.target]
    fit, rest = train_test_split(
        training.frame, test_size=held_out, stratify=classes, random_state=seed
    )
    stop, blend = train_test_split(
        rest,
        train_size=STOP_SHARE / held_out,
        stratify=rest[training.target],
        random_state=seed,
    )
    portions = []
    for name, frame in {"fit": fit, "stop": stop, "blend": blend}.items():
        file = training.file.with_name(f"h2o_{name}.parquet")
        write_parquet(frame.sort_index(), file)
        portions.append(replace(training, name=name, file=file, frame=frame))
    return portions


def _upload(part: Part) -> h2o.H2OFrame:
    """Push a split into H2O, wherever it runs, with the target as a class."""
    frame = h2o.upload_file(str(part.file))
    frame[part.target] = frame[part.target].asfactor()
    return frame


def _fitted(model: Any, validation: h2o.H2OFrame, algorithm: str) -> Fitted:
    with spent_on("judging"):
        probability = model.predict(validation)["p1"].as_data_frame()["p1"].to_numpy(np.float64)
    return Fitted(
        algorithm=algorithm,
        configuration=_configuration(model, algorithm),
        probability=probability,
        log_native=lambda: _log_native(model),
        export=lambda folder: _export(model, folder),
    )


def _algorithm(model_id: str) -> str:
    """Return AutoML's own name of a model, without the number of its search."""
    return re.sub(r"_AutoML_\d+_\d+_\d+", "", model_id)


def _configuration(model: Any, algorithm: str) -> Configuration | None:
    """Return what fits `model` again: the values it ended up with, number of trees included."""
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
    return {"algo": model.algo, "name": algorithm, "parameters": parameters}


def _log_native(model: Any) -> None:
    h2o.save_model = _download_model
    mlflow.h2o.log_model(model, name="native", pip_requirements=pinned("h2o"))


def _download_model(model: Any, path: str, force: bool = True) -> str:
    """Save a model on this machine; H2O's own save_model, which MLflow calls, saves on its server.

    A new file in any case: `force` has nothing to overwrite.
    """
    del force
    saved: str = h2o.download_model(model, path)
    return saved


def _export(model: Any, folder: Path) -> str:
    path = model.download_mojo(path=str(folder), get_genmodel_jar=True)
    Path(path).replace(folder / MOJO_FILE)
    if not (folder / GENMODEL_JAR).is_file():
        raise ExportError(f"H2O gave no {GENMODEL_JAR}")
    return "mojo"


@contextmanager
def h2o_server(url: str) -> Iterator[None]:
    """Connect to the H2O cluster at `url`, or to one of our own that ends with this step.

    Raises:
        EngineError: there is no H2O at `url` that we can use, our own does not start, or it ends
            or fails.
    """
    try:
        with _cluster(url) if url else _own_server():
            yield
    except (H2OError, OSError) as error:
        if not isinstance(error, H2OError) and not str(error).startswith(FAILED_JOB):
            raise  # it speaks of a file or of the tracking store
        raise EngineError(f"H2O failed: {_first_line(error)}") from error


@contextmanager
def _cluster(url: str) -> Iterator[None]:
    _connect_to_cluster(url)
    try:
        yield
    finally:
        h2o.connection().close()


def _connect_to_cluster(url: str) -> None:
    """Connect, if the cluster is well and of the client's version: others differ in what they do.

    Raises:
        EngineError: it is not, or there is none.
    """
    try:
        with redirect_stdout(None):  # what it prints on versions is for those who call its client
            h2o.connect(url=url, verbose=False)
    except H2OServerError as error:
        raise EngineError(
            f"h2o_url: the H2O cluster at {url} is not well: {_first_line(error)}; wait until all "
            "of its nodes are there, or start it again"
        ) from error
    except (H2OError, OSError) as error:
        raise EngineError(f"h2o_url: no H2O answers at {url}: {_first_line(error)}") from error
    version = h2o.cluster().version
    if version != h2o.__version__:
        h2o.connection().close()
        raise EngineError(
            f"h2o_url: the H2O cluster at {url} is of version {version}, the client here of "
            f"{h2o.__version__}: start it with the h2o.jar of that version, or leave h2o_url empty"
        )


@contextmanager
def _own_server() -> Iterator[None]:
    """Run H2O on loopback only: h2o.init would open two UDP sockets to everyone."""
    with (
        tempfile.TemporaryDirectory(prefix="ml-pipes-h2o-") as folder,
        _started(Path(folder)),
    ):
        yield


@contextmanager
def _started(folder: Path) -> Iterator[None]:
    port = _free_port_pair()
    (folder / "flatfile").write_text(f"127.0.0.1:{port}\n")
    command = [
        str(use_java() / "bin" / "java"),
        f"-Xmx{_memory_gb()}g",
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        f"-Djava.io.tmpdir={folder}",
        "-cp", str(Path(h2o.__file__).parent / "backend" / "bin" / "h2o.jar"), "water.H2OApp",
        "-ip", "127.0.0.1", "-web_ip", "127.0.0.1", "-port", str(port),
        "-flatfile", str(folder / "flatfile"), "-name", f"ml-pipes-{os.getpid()}",
        "-ice_root", str(folder),
    ]  # fmt: skip
    output = folder / "h2o.log"

    def ended() -> EngineError:
        return EngineError(f"H2O ended while it worked: {_last_words(output)}")

    with tied_process(command, output) as process:
        _connect(process, port, output)
        with watched(process, ended):
            try:
                yield
            except (H2OError, OSError):  # a failed job is an OSError, too
                time.sleep(1)  # if it comes from a server that died, that is said now
                raise
        h2o.connection().close()


def _connect(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with redirect_stdout(None):  # it tells users to install a newer H2O, which does not fit
                h2o.connect(url=f"http://127.0.0.1:{port}", verbose=False)
        except (H2OError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"H2O did not start: {_last_words(output)}") from error
            time.sleep(0.2)
        else:
            return


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _last_words(output: Path) -> str:
    lines = output.read_text(errors="replace").strip().splitlines()
    telling = [line for line in lines if "OutOfMemory" in line or "ERRR" in line]
    return (telling or lines or ["it said nothing"])[-1].strip()


def _free_port_pair() -> int:
    """Return a port that is free, as is the next one: H2O takes both."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _memory_gb() -> int:
    """Return a fifth of the machine's memory, 1 to 4 GB."""
    return max(1, min(4, round(psutil.virtual_memory().total / 5e9)))


if __name__ == "__main__":
    train_h2o()
