"""The whole workflow: data, three engines, one judge, a champion.

mlflow run .
mlflow run . -P data=sample -P profile=quick
mlflow run . -P engines=pycaret,spark -P metric=roc_auc
"""

import logging

import mlflow

from steps.pipeline.leaderboard import as_text
from steps.pipeline.plots import leaderboard_plot, log_figures
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
    spark_master: str,
    h2o_url: str,
) -> None:
    """Run every step and say what came out."""
    parameters = dict(locals())
    parameters["data_run_id"] = run_step("load_data", parameters)
    training = [train(engine, parameters) for engine in engines]
    parameters["training_run_ids"] = ",".join(training)
    selection = mlflow.get_run(run_step("select_champion", parameters))
    tags = selection.data.tags
    test = {n: v for n, v in selection.data.metrics.items() if n.startswith("test_")}
    mlflow.log_metrics(test)
    names = ("engine", "algorithm", "promoted", "decision", "champion_version")
    mlflow.set_tags({name: tags[name] for name in names if name in tags})
    board = mlflow.load_table("leaderboard.json", run_ids=[selection.info.run_id])
    log_figures({"leaderboard.png": leaderboard_plot(board, f"val_{metric}")}, "plots")
    log.info("\n%s\n\n%s", as_text(board), summary(tags, test, model_name))


def summary(tags: dict[str, str], test: dict[str, float], model_name: str) -> str:
    """Return what a person wants to know at the end, and what to type next."""
    shown = ("test_ks", "test_roc_auc", "test_average_precision", "test_recall_at_1pct_fpr")
    figures = ", ".join(f"{name} {test[name]:.4f}" for name in shown)
    if tags["promoted"] == "true":
        outcome = f"{model_name} version {tags['champion_version']} is the new champion"
    else:
        outcome = f"the champion of {model_name} stays"
    return f"""Winner: {tags["algorithm"]} ({tags["engine"]}): {figures}
{outcome}: {tags["decision"]}.

Next:
  mlflow ui
  mlflow models serve -m models:/{model_name}@champion -p 5002 --env-manager local"""


if __name__ == "__main__":
    main()
