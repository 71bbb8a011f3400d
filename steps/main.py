"""The main workflow: data, training, selection.

mlflow run .
mlflow run . -P data=sample -P profile=quick
mlflow run . -P engines=pycaret,spark -P metric=roc_auc
"""

import logging
import tempfile
from typing import Any

import mlflow
from mlflow.entities import Run

from steps.registry.history import replaced_version
from steps.registry.versions import champion_tags, check_name_is_free
from steps.runtime.active_run import active_run
from steps.runtime.entry_point import step
from steps.runtime.errors import EngineFailedError, StepError
from steps.runtime.mlflow_pages import (
    DATA_PAGE,
    add_to_note,
    artifact_link,
    find_pages,
    run_link,
    version_link,
)
from steps.runtime.threshold_rule import ThresholdRule
from steps.selection.holdout_test import BETTER_THAN_CHANCE, WARNING
from steps.selection.leaderboard import read_leaderboard
from steps.selection.notes import describe_experiment, describe_workflow
from steps.selection.report import format_leaderboard, format_next, format_summary
from steps.workflow.running import run_step, train

logger = logging.getLogger("ml-pipes")

# Tags of a selection that the workflow's run gets, too.
REPORTED_TAGS = (
    "engine", "algorithm", "promoted", "decision", "champion_version", BETTER_THAN_CHANCE, WARNING,
    "threshold", "threshold_rule",
)  # fmt: skip


@step
def main(
    data: str,
    query: str,
    target: str,
    positive: str,
    drop: list[str],
    categorical: list[str],
    numeric: list[str],
    id_column: str,
    time_column: str,
    split: str,
    duplicates: str,
    metric: str,
    engines: list[str],
    profile: str,
    refit: bool,
    promotion: str,
    threshold: ThresholdRule,
    seed: int,
    model_name: str,
    cache: bool,
    spark_master: str,
    h2o_url: str,
) -> None:
    """Load data, train with every engine, select the champion, and report the result."""
    parameters = dict(locals())
    check_name_is_free(model_name)
    parameters["data_run_id"] = run_step("load_data", parameters, cache)
    training, failed = train_all(engines, parameters, cache)
    parameters["training_run_ids"] = ",".join(training)
    selection = select(parameters, cache, failed)
    steps = [mlflow.get_run(run_id) for run_id in (parameters["data_run_id"], *training)]
    report([*steps, selection], metric, model_name)
    if failed:
        raise EngineFailedError(f"completed with failures: {'; '.join(failed)}")


def train_all(
    engines: list[str], parameters: dict[str, Any], cache: bool
) -> tuple[list[str], list[str]]:
    """Run the training step of each engine.

    Returns:
        The runs of the finished steps, and a line on each failed engine.

    Raises:
        StepError: Every engine failed.
    """
    finished, failed = [], []
    for engine in engines:
        try:
            finished.append(train(engine, parameters, cache))
        except StepError as error:
            logger.warning("%s; continuing without this engine", error)
            failed.append(f"{engine}: {error.reason}")
            mlflow.set_tag(f"failed.{engine}", error.reason)
    if not finished:
        raise StepError("every engine", "; ".join(failed))
    return finished, failed


def select(parameters: dict[str, Any], cache: bool, failed: list[str]) -> Run:
    """Run the selection and return its run.

    A selection that failed after its decision counts as finished; the reason is added to `failed`.

    Raises:
        StepError: It failed before its decision.
    """
    model_name = parameters["model_name"]
    try:
        run_id = run_step(
            "select_champion", parameters, cache, lambda run: champion_unchanged(run, model_name)
        )
    except StepError as error:
        if not error.run_id or "decision" not in mlflow.get_run(error.run_id).data.tags:
            raise
        run_id = error.run_id
        failed.append(error.reason)
    return mlflow.get_run(run_id)


def champion_unchanged(selection: Run, model_name: str) -> bool:
    """Return whether the champion is still the one after this selection."""
    # Not the version alone: a model that was deleted and created again restarts at version 1.
    return champion_tags(model_name).items() <= selection.data.tags.items()


def report(steps: list[Run], metric: str, model_name: str) -> None:
    """Copy the results of the last step to the active run, and log them to the terminal."""
    selection = steps[-1]
    tags, run_id = selection.data.tags, selection.info.run_id
    test = {n: v for n, v in selection.data.metrics.items() if n.startswith("test_")}
    mlflow.log_metrics(test)
    mlflow.set_tags({name: tags[name] for name in REPORTED_TAGS if name in tags})
    board = read_leaderboard(run_id)
    run = active_run()
    replaced = replaced_version(model_name, run_id)
    note = describe_workflow(run, board, metric, tags, model_name, steps, replaced)
    add_to_note(run.info.run_id, note)
    version = tags["champion_version"]
    describe_experiment(run, model_name, version)
    copy_pictures(run_id)
    logger.info(
        "\n%s\n\n%s\n\n%s",
        format_leaderboard(board, metric),
        format_summary(board, tags, test, model_name),
        format_next(find_pages(), links_of(steps[0], model_name, version), model_name, version),
    )


def links_of(data: Run, model_name: str, version: str) -> dict[str, str]:
    """Return the links to the pages that people read after a workflow, by name."""
    links = {"run": run_link(active_run())}
    if version:
        links["version"] = version_link(model_name, version)
    return links | {"data": artifact_link(data, DATA_PAGE)}


def copy_pictures(selection_id: str) -> None:
    """Log the pictures of the selection to the active run, which people open first."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        mlflow.artifacts.download_artifacts(
            run_id=selection_id, artifact_path="plots", dst_path=folder
        )
        mlflow.log_artifacts(f"{folder}/plots", "plots")


if __name__ == "__main__":
    main()
