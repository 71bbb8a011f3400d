"""Notes in Markdown that MLflow shows at the top of a workflow's run and of its experiment."""

import json

import mlflow
import pandas as pd
from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from steps.runtime.mlflow_pages import (
    MODEL_TRAINING,
    model_link,
    monitoring_experiment,
    picture,
    run_link,
    runs_link,
    version_link,
)
from steps.selection.report import describe_champion, describe_ties

# A run's note has at most 8,000 characters.
SHOWN_CANDIDATES = 30
# A view of an experiment's runs that a link opens; MLflow's own list shows no metrics.
VIEW = "results"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
VIEW_COLUMNS = (
    "metrics.`test_ks`", "metrics.`test_roc_auc`", "metrics.`seconds_total`", "tags.`algorithm`",
    "tags.`champion_version`",
)  # fmt: skip
# The end of an experiment's note that may be replaced.
UPDATED = "Each run of `main` updates these links."


def describe_workflow(
    run: Run,
    board: pd.DataFrame,
    metric: str,
    tags: dict[str, str],
    model_name: str,
    steps: list[Run],
    replaced: str = "",
) -> str:
    """Return the outcome of a workflow, its leaderboard, its picture, and links to its steps.

    Args:
        run: The run of the workflow, which has the picture.
        board: The leaderboard.
        metric: The champion metric.
        tags: The tags of the selection's run.
        model_name: The registered model.
        steps: The runs of the steps, in their order.
        replaced: The version that was champion before; empty if there was none or it stays.
    """
    version = tags["champion_version"]
    champion = describe_champion(model_name, version, tags["promoted"] == "true")
    if version:
        champion = f"[{champion}]({version_link(model_name, version)})"
    if replaced:
        link = version_link(model_name, replaced)
        champion += f", instead of [version {replaced}]({link})"
    shown = _with_metric(board, metric).head(SHOWN_CANDIDATES)
    header = f"| | engine | algorithm | {metric} (95 % interval) | log loss | standing |"
    rows = [
        f"| {place} | {row.engine} | {row.algorithm} | {row.value:.4f} ({row.low:.3f} to "
        f"{row.high:.3f}) | {row.val_log_loss:.5f} | {row.standing} |"
        for place, row in enumerate(shown.itertuples(), 1)
    ]
    if more := len(board) - len(shown):
        rows += ["", f"{more} more are in the artifact `leaderboard.json` of the last step."]
    return "\n".join(
        [
            f"**{champion}**: {tags['decision']}.",
            "",
            f"Winner on the validation rows: {tags['algorithm']} ({tags['engine']}); "
            f"{describe_ties(board)}.",
            "",
            header,
            "|---|---|---|---|---|---|",
            *rows,
            "",
            picture(run, "plots/leaderboard.png", "leaderboard"),
            "",
            f"Steps: {', '.join(f'[{step.info.run_name}]({run_link(step)})' for step in steps)}.",
        ]
    )


def describe_experiment(run: Run, model_name: str, version: str | None) -> None:
    """Mark the experiment of `run` as model training, and describe it with links.

    A kind or a note that somebody else has set is kept.

    Args:
        run: The newest run of the workflow.
        model_name: The registered model.
        version: Its champion, if there is one.
    """
    client = mlflow.MlflowClient()
    experiment = client.get_experiment(run.info.experiment_id)
    if not MODEL_TRAINING.keys() & experiment.tags.keys():
        for name, value in MODEL_TRAINING.items():
            client.set_experiment_tag(experiment.experiment_id, name, value)
    if VIEW_TAG not in experiment.tags:
        view = json.dumps({"selectedColumns": VIEW_COLUMNS})
        client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, view)
    if not experiment.tags.get(MLFLOW_RUN_NOTE, UPDATED).endswith(UPDATED):
        return
    monitoring = client.get_experiment_by_name(monitoring_experiment(model_name))
    if monitoring and monitoring.lifecycle_stage == LifecycleStage.DELETED:
        monitoring = None
    note = _experiment_note(run, model_name, version, monitoring)
    client.set_experiment_tag(experiment.experiment_id, MLFLOW_RUN_NOTE, note)


def _experiment_note(
    run: Run, model_name: str, version: str | None, monitoring: Experiment | None
) -> str:
    view = f"{runs_link(run.info.experiment_id)}?viewStateShareKey={VIEW}"
    links = [
        f"Newest comparison: [{run.info.run_name}]({run_link(run)}).",
        f"[Runs with test metrics]({view}).",
    ]
    if version:
        link = version_link(model_name, version)
        links.insert(0, f"Champion: [{model_name} version {version}]({link}).")
        links.append(f"[History of champions]({model_link(model_name)}).")
    if monitoring:
        link = runs_link(monitoring.experiment_id)
        links.append(f"Monitoring: [{monitoring.name}]({link}).")
    return " ".join([*links, UPDATED])


def _with_metric(board: pd.DataFrame, metric: str) -> pd.DataFrame:
    names = {f"val_{metric}": "value", f"val_{metric}_low": "low", f"val_{metric}_high": "high"}
    return board.assign(**{new: board[old] for old, new in names.items()})
