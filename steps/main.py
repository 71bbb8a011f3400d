"""The whole workflow: data, three engines, one judge, a champion.

mlflow run .
mlflow run . -P data=sample -P profile=quick
mlflow run . -P engines=pycaret,spark -P metric=roc_auc
"""

import logging
import tempfile
from typing import Any

import mlflow
from mlflow.entities import Run

from steps.pipeline.errors import EngineFailedError, StepError
from steps.pipeline.outcome import as_text, summary
from steps.pipeline.registry import find_champion
from steps.pipeline.step import step
from steps.pipeline.workflow import run_step, train

log = logging.getLogger("ml-pipes")


@step
def main(
    data: str,
    target: str,
    time_column: str,
    split: str,
    metric: str,
    engines: list[str],
    profile: str,
    refit: bool,
    promotion: str,
    seed: int,
    model_name: str,
    cache: bool,
    spark_master: str,
    h2o_url: str,
) -> None:
    """Run every step and say what came out."""
    parameters = dict(locals())
    parameters["data_run_id"] = run_step("load_data", parameters, cache)
    training, failed = train_all(engines, parameters, cache)
    parameters["training_run_ids"] = ",".join(training)
    selection = select(parameters, cache, failed)
    selection_id = selection.info.run_id
    tags = selection.data.tags
    test = {n: v for n, v in selection.data.metrics.items() if n.startswith("test_")}
    mlflow.log_metrics(test)
    names = ("engine", "algorithm", "promoted", "decision", "champion_version")
    mlflow.set_tags({name: tags[name] for name in names if name in tags})
    board = mlflow.load_table("leaderboard.json", run_ids=[selection_id])
    copy_pictures(selection_id)
    log.info("\n%s\n\n%s", as_text(board, metric), summary(board, tags, test, model_name))
    if failed:
        raise EngineFailedError(f"done, but without {'; '.join(failed)}")


def train_all(
    engines: list[str], parameters: dict[str, Any], cache: bool
) -> tuple[list[str], list[str]]:
    """Run the training steps; return the runs of those that finished, and why others did not.

    Raises:
        StepError: none finished.
    """
    finished, failed = [], []
    for engine in engines:
        try:
            finished.append(train(engine, parameters, cache))
        except StepError as error:
            log.warning("%s; going on without it", error)
            failed.append(f"{engine}: {error.reason}")
            mlflow.set_tag(f"failed.{engine}", error.reason)
    if not finished:
        raise StepError("every engine", "; ".join(failed))
    return finished, failed


def select(parameters: dict[str, Any], cache: bool, failed: list[str]) -> Run:
    """Run the selection; note in `failed` if it decided without fitting the winner again.

    Raises:
        StepError: it did not decide.
    """
    model_name = parameters["model_name"]
    try:
        run_id = run_step(
            "select_champion", parameters, cache, lambda run: champion_stands(run, model_name)
        )
    except StepError as error:
        if not error.run_id or "decision" not in mlflow.get_run(error.run_id).data.tags:
            raise
        run_id = error.run_id
        failed.append(error.reason)
    return mlflow.get_run(run_id)


def champion_stands(selection: Run, model_name: str) -> bool:
    """Tell whether the champion is still the one that this selection left."""
    champion = find_champion(model_name)
    if champion is None:
        return False
    # A model that was deleted and made again begins at version 1 again.
    left = [selection.data.tags.get(name) for name in ("champion_version", "champion_run_id")]
    return [str(champion.version), champion.run_id] == left


def copy_pictures(selection_id: str) -> None:
    """Log the pictures of the comparison to the active run, too: it is what people open first."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        mlflow.artifacts.download_artifacts(
            run_id=selection_id, artifact_path="plots", dst_path=folder
        )
        mlflow.log_artifacts(f"{folder}/plots", "plots")


if __name__ == "__main__":
    main()
