"""Choose the best candidate, test it once, and promote it if it beats the incumbent.

mlflow run . -e select_champion -P data_run_id=RUN_ID -P training_run_ids=RUN_ID,RUN_ID
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from matplotlib.figure import Figure

from serving.scorer import Manifest, PortableScorer
from steps.pipeline.candidates import candidates_of, download_scorer, validation_scores
from steps.pipeline.errors import EngineFailedError, StepError
from steps.pipeline.evaluation import Floats, at_threshold
from steps.pipeline.intervals import Estimate, Interval, at_threshold_intervals, bounds
from steps.pipeline.leaderboard import best, compare_with_leader, leaderboard
from steps.pipeline.ledger import log_history
from steps.pipeline.model_card import model_card, model_card_page
from steps.pipeline.origin import MONITORING_RUN, origin_of
from steps.pipeline.parameters import as_given
from steps.pipeline.plots import curves, ks_curves, leaderboard_plot, log_pictures
from steps.pipeline.progress import spent_on
from steps.pipeline.promotion import Decision, assess_incumbent, decide
from steps.pipeline.reference import Reference
from steps.pipeline.registry import (
    PROMOTED,
    Lineage,
    log_champion_model,
    one_selection,
    promoted_by_interrupted_selection,
    register,
    the_champion,
)
from steps.pipeline.rows import Seen
from steps.pipeline.splits import Part, Splits, open_splits
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
    cache: bool,
) -> None:
    """Choose, refit, test, and promote."""
    with open_splits(data_run_id) as splits:
        board = leaderboard(training_run_ids, splits.description.digests, metric)
        scores = {run_id: validation_scores(run_id) for run_id in board["run_id"]}
        with spent_on("judging"):
            board = compare_with_leader(board, metric, splits.validation.y, scores)
        mlflow.log_table(board, "leaderboard.json")
        pictures = log_pictures(comparison_figures(board, metric, splits, scores), "plots")
        winner = best(board)
        failed = ""
        try:
            model_run_id = refitted(winner, cache) if refit else winner["run_id"]
        except StepError as error:  # as when an engine fails in its search: go on without it
            log.warning("%s; the first fit is used", error)
            model_run_id, failed = winner["run_id"], error.reason
        lineage = lineage_of(winner, model_run_id, metric, data_run_id)
        with download_scorer(lineage.model_run_id) as scorer:
            challenger = test_once(lineage, scorer, splits)
            with one_selection(model_name):
                promote_or_not(challenger, splits, promotion, model_name, pictures)
                log_history(model_name)
    if failed:
        raise EngineFailedError(f"{winner['engine']} could not fit the winner again: {failed}")


def comparison_figures(
    board: pd.DataFrame, metric: str, splits: Splits, scores: dict[str, Floats]
) -> dict[str, Figure]:
    """Return the pictures of all candidates together, by file name."""
    candidates = [
        (engine, algorithm, scores[run_id])
        for engine, algorithm, run_id in zip(
            board["engine"], board["algorithm"], board["run_id"], strict=True
        )
    ]
    return {
        "leaderboard.png": leaderboard_plot(board, metric),
        "ks_curves.png": ks_curves(splits.validation.y, candidates),
    }


def lineage_of(
    winner: "pd.Series[Any]", model_run_id: str, metric: str, data_run_id: str
) -> Lineage:
    """Return where the challenger comes from: the winner, or the run that fitted it again."""
    run = mlflow.active_run()
    assert run is not None, "a step is a run"
    return Lineage(
        engine=winner["engine"],
        algorithm=winner["algorithm"],
        metric=metric,
        data_run_id=data_run_id,
        selection_run_id=run.info.run_id,
        candidate_run_id=winner["run_id"],
        model_run_id=model_run_id,
        refit=str(model_run_id != winner["run_id"]).lower(),
    )


def refitted(winner: "pd.Series[Any]", cache: bool) -> str:
    """Return the run of the winner fitted again, or the winner's own if that cannot be.

    Its engine's step runs with the parameters that it had when it searched.

    Raises:
        StepError: that failed.
    """
    name = f"{winner['engine']} {winner['algorithm']}"
    if not winner["refittable"]:
        log.info("%s cannot be fitted again: it is used as it is", name)
        return str(winner["run_id"])
    searched_with = as_given(mlflow.get_run(winner["training_run_id"]).data.params)
    run_id = train(winner["engine"], searched_with | {"refit_of": winner["run_id"]}, cache)
    (model,) = candidates_of(run_id)
    if model.data.tags["proven"] != "true":
        log.warning(
            "the export of %s fitted again is not equal to it (%s): the first fit is used",
            name,
            model.data.tags["export"],
        )
        return str(winner["run_id"])
    return model.info.run_id


@dataclass(frozen=True)
class Challenger:
    """The winner on the test rows."""

    lineage: Lineage
    scorer: Path
    manifest: Manifest
    scores: Floats
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    pictures: dict[str, bytes]
    test_uses: int


def test_once(lineage: Lineage, folder: Path, splits: Splits) -> Challenger:
    """Score the test rows with the portable scorer in `folder`, and log what comes out."""
    test = splits.test
    splits.log_inputs(test)
    digest = splits.description.digests[test.name]
    uses = uses_of_test_rows(digest) + 1
    mlflow.set_tags({"test_digest": digest, "test_uses": str(uses)})
    scorer = PortableScorer.load(folder)
    threshold = scorer.manifest.threshold
    with spent_on("judging"):
        scores = scorer.score(test.frame)
        estimate = Estimate(test.y, scores)
        metrics = estimate.metrics | at_threshold(test.y, scores, threshold)
        intervals = estimate.intervals | at_threshold_intervals(test.y, scores, threshold)
    challenger = Challenger(
        lineage=lineage,
        scorer=folder,
        manifest=scorer.manifest,
        scores=scores,
        metrics=metrics,
        intervals=intervals,
        pictures=log_pictures(curves(test.y, scores, f"{lineage.algorithm}, test"), "plots/test"),
        test_uses=uses,
    )
    values = challenger.metrics | bounds(challenger.intervals)
    mlflow.log_metrics({f"test_{name}": value for name, value in values.items()})
    return challenger


def uses_of_test_rows(digest: str) -> int:
    """Return how many selections of this experiment have looked at the test rows `digest`.

    Each look makes the best figure seen a little too good.
    """
    run = mlflow.active_run()
    assert run is not None, "a step is a run"
    found = mlflow.search_runs(
        [run.info.experiment_id], f"tags.test_digest = '{digest}'", output_format="list"
    )
    return len(found)


def promote_or_not(
    challenger: Challenger,
    splits: Splits,
    promotion: str,
    model_name: str,
    comparison: dict[str, bytes],
) -> None:
    """Decide against the incumbent; register and promote the challenger if it wins."""
    lineage = challenger.lineage
    mlflow.set_tags(asdict(lineage))
    if champion := promoted_by_interrupted_selection(model_name, lineage.model_run_id):
        interrupted = champion.tags["selection_run_id"]
        mlflow.MlflowClient().set_tag(interrupted, PROMOTED, "true")
        record(True, champion.tags["decision"], model_name, str(champion.version))
        return
    with spent_on("judging"):
        seen = Seen.of(splits, refitted=lineage.refit == "true")
        incumbent = assess_incumbent(model_name, splits)
    if incumbent is None:
        decision = Decision(True, "it is the first champion of this name")
    else:
        decision = decide(
            promotion, lineage.metric, splits.test, challenger.scores, seen, incumbent
        )
    version = incumbent.version if incumbent else None
    if decision.promoted:
        card = model_card(
            lineage,
            challenger.manifest,
            challenger.metrics,
            challenger.intervals,
            splits.description,
            decision.reason,
        )
        mlflow.log_text(card, "model_card.md")
        page = model_card_page(card, comparison | challenger.pictures)
        mlflow.log_text(page, "model_card.html")
        example = example_rows(splits.test, challenger.scores)
        was_refitted = lineage.refit == "true"
        fitted_on = splits.training_and_validation() if was_refitted else splits.training
        reference = Reference.of(fitted_on.X, challenger.scores)
        uri = log_champion_model(challenger.scorer, seen, reference, example)
        tags = asdict(lineage) | {
            "decision": decision.reason,
            "test_uses": str(challenger.test_uses),
        }
        if (asked_for_by := origin_of(splits.run_id).get(MONITORING_RUN)) is not None:
            tags[MONITORING_RUN] = asked_for_by
        version = register(uri, model_name, tags, card, version)
    record(decision.promoted, decision.reason, model_name, version)


def record(promoted: bool, reason: str, model_name: str, version: str | None) -> None:
    """Note the outcome on the run, and say it."""
    mlflow.set_tags(
        {
            PROMOTED: str(promoted).lower(),
            "decision": reason,
            "champion_version": version,
            "champion_run_id": the_champion(model_name).run_id,
        }
    )
    if promoted:
        log.info("%s version %s is champion: %s", model_name, version, reason)
    else:
        log.info("version %s of %s stays champion: %s", version, model_name, reason)


def example_rows(test: Part, scores: Floats) -> pd.DataFrame:
    """Return the features of two test rows: the highest score and the lowest."""
    return test.X.iloc[[int(scores.argmax()), int(scores.argmin())]].reset_index(drop=True)


if __name__ == "__main__":
    select_champion()
