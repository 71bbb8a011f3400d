"""Choose the best candidate, test it once, and promote it if it beats the incumbent.

mlflow run . -e select_champion -P data_run_id=RUN_ID -P training_run_ids=RUN_ID,RUN_ID
"""

import logging
import shlex
from dataclasses import asdict
from typing import Any

import mlflow
import pandas as pd

from serving.scorer import PortableScorer
from steps.pipeline.candidates import candidates_of, download_scorer
from steps.pipeline.evaluation import at_threshold, evaluate
from steps.pipeline.leaderboard import best, leaderboard
from steps.pipeline.plots import curves, leaderboard_plot, log_figures
from steps.pipeline.promotion import assess_incumbent, decide, find_incumbent
from steps.pipeline.registry import Lineage, log_champion_model, model_card, promote, register
from steps.pipeline.splits import Part, open_splits
from steps.pipeline.step import step
from steps.pipeline.workflow import train

log = logging.getLogger("ml-pipes")


@step
def select_champion(
    data_run_id: str,
    training_run_ids: list[str],
    metric: str,
    refit: bool,
    promotion: str,
    model_name: str,
) -> None:
    """Choose, refit, test, and promote."""
    board = leaderboard(training_run_ids, data_run_id, metric)
    mlflow.log_table(board, "leaderboard.json")
    log_figures({"leaderboard.png": leaderboard_plot(board, f"val_{metric}")}, "plots")
    winner = best(board)
    model_run_id = refitted(winner) if refit else winner["run_id"]
    lineage = Lineage(
        engine=winner["engine"],
        algorithm=winner["algorithm"],
        metric=metric,
        data_run_id=data_run_id,
        candidate_run_id=winner["run_id"],
        model_run_id=model_run_id,
        refit=str(model_run_id != winner["run_id"]).lower(),
    )
    with open_splits(data_run_id) as splits, download_scorer(model_run_id) as folder:
        splits.log_inputs(splits.test)
        test = splits.test
        scorer = PortableScorer.load(folder)
        scores, manifest = scorer.score(test.frame), scorer.manifest
        metrics = evaluate(test.y, scores) | at_threshold(test.y, scores, manifest.threshold)
        mlflow.log_metrics({f"test_{name}": value for name, value in metrics.items()})
        log_figures(curves(test.y, scores, f"{lineage.algorithm}, test"), "plots/test")
        incumbent = assess_incumbent(model_name, test)
        decision = decide(promotion, metric, metrics, incumbent)
        mlflow.set_tags(asdict(lineage) | {"promoted": "false", "decision": decision.reason})
        if not decision.promoted:
            log.info("the champion stays: %s", decision.reason)
            return
        uri = log_champion_model(folder, example_rows(test, scores))
        card = model_card(lineage, manifest, metrics, splits.description, decision.reason)
    tags = asdict(lineage) | {"decision": decision.reason}
    version = register(uri, model_name, tags, card).version
    promote(model_name, version, find_incumbent(model_name))
    mlflow.log_text(card, "model_card.md")
    mlflow.set_tags({"promoted": "true", "champion_version": version})
    log.info("%s version %s is champion: %s", model_name, version, decision.reason)


def refitted(winner: "pd.Series[Any]") -> str:
    """Return the run of the winner fitted again, or the winner's own if that cannot be.

    Its engine's step runs with the parameters that it had when it searched.
    """
    name = f"{winner['engine']} {winner['algorithm']}"
    if not winner["refittable"]:
        log.info("%s cannot be fitted again: it is used as it is", name)
        return str(winner["run_id"])
    logged = mlflow.get_run(winner["training_run_id"]).data.params
    # MLflow notes a parameter as its shell would read it: "''" is empty.
    searched_with = {name: "".join(shlex.split(value)) for name, value in logged.items()}
    run_id = train(winner["engine"], searched_with | {"refit_of": winner["run_id"]})
    (model,) = candidates_of(run_id)
    if model.data.tags["proven"] != "true":
        log.warning(
            "the export of %s fitted again is not equal to it (%s): the first fit is used",
            name,
            model.data.tags["export"],
        )
        return str(winner["run_id"])
    return model.info.run_id


def example_rows(test: Part, scores: Any) -> pd.DataFrame:
    """Return the features of two test rows: the highest score and the lowest."""
    return test.X.iloc[[scores.argmax(), scores.argmin()]].reset_index(drop=True)


if __name__ == "__main__":
    select_champion()
