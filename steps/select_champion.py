"""Selection of the best candidate, its refit, its test, and its promotion to champion.

mlflow run . -e select_champion -P data_run_id=RUN_ID -P training_run_ids=RUN_ID,RUN_ID
"""

import logging
from dataclasses import asdict

import mlflow

from serving.model.manifest import Manifest
from steps.candidates.queries import download_scorer
from steps.data.fingerprints import RowFingerprints
from steps.data.logged_splits import LoggedSplits, open_splits
from steps.registry.challengers import CHALLENGER_VERSION
from steps.registry.champion_changes import (
    PROMOTED,
    exclusive_champion_change,
    resume_interrupted_promotion,
)
from steps.registry.champion_model import Lineage
from steps.registry.description import update_description
from steps.registry.history import log_champion_history
from steps.registry.versions import champion_tags, check_name_is_free
from steps.runtime.active_run import active_run
from steps.runtime.entry_point import step
from steps.runtime.errors import EngineFailedError
from steps.runtime.progress import timed
from steps.runtime.threshold_rule import ThresholdRule
from steps.selection.holdout_test import Challenger, run_holdout_test
from steps.selection.incumbent import Incumbent, assess_anchor, assess_incumbent
from steps.selection.leaderboard import Candidate, best_candidate, rank_candidates
from steps.selection.promotion import decide
from steps.selection.refit import ModelToTest, refit_winner
from steps.selection.registration import register_promoted, register_unpromoted
from steps.selection.report import describe_champion
from steps.selection.threshold import threshold_of, write_threshold

logger = logging.getLogger("ml-pipes")


@step
def select_champion(
    data_run_id: str,
    training_run_ids: list[str],
    metric: str,
    refit: bool,
    promotion: str,
    threshold: ThresholdRule,
    model_name: str,
    cache: bool,
) -> None:
    """Rank the candidates, refit the best, test it once, and promote it if it wins."""
    check_name_is_free(model_name)
    with open_splits(data_run_id) as splits:
        board, pictures = rank_candidates(training_run_ids, metric, splits)
        winner = best_candidate(board)
        chosen = threshold_of(threshold, winner.run_id, splits.validation)
        model = refit_winner(winner, splits, cache) if refit else ModelToTest(winner.run_id)
        lineage = lineage_of(winner, model.run_id, metric, data_run_id)
        with download_scorer(model.run_id) as scorer:
            write_threshold(scorer, chosen, threshold)
            challenger = run_holdout_test(lineage, scorer, splits)
            with exclusive_champion_change(model_name):
                decide_and_promote(challenger, splits, promotion, model_name, pictures)
                log_champion_history(model_name)
                update_description(model_name)
    if model.refit_error:
        kept = "; using its first fit" if model.run_id == winner.run_id else ""
        raise EngineFailedError(
            f"{winner.engine} could not refit the winner{kept}: {model.refit_error}"
        )


def lineage_of(winner: Candidate, model_run_id: str, metric: str, data_run_id: str) -> Lineage:
    """Return the origin of the challenger: the winner itself or its refit."""
    return Lineage(
        engine=winner.engine,
        algorithm=winner.algorithm,
        metric=metric,
        data_run_id=data_run_id,
        selection_run_id=active_run().info.run_id,
        candidate_run_id=winner.run_id,
        model_run_id=model_run_id,
        refit=str(model_run_id != winner.run_id).lower(),
    )


def decide_and_promote(
    challenger: Challenger,
    splits: LoggedSplits,
    promotion: str,
    model_name: str,
    pictures: dict[str, bytes],
) -> None:
    """Decide between challenger and incumbent, and promote the challenger if it wins.

    Otherwise it is registered under the alias `challenger`, if it is better than chance and another
    model than the incumbent.

    A promotion of the same model that was interrupted is completed instead.
    """
    lineage = challenger.lineage
    mlflow.set_tags(asdict(lineage))
    if champion := resume_interrupted_promotion(model_name, lineage.model_run_id):
        log_outcome(True, champion.tags["decision"], model_name, str(champion.version))
        return
    with timed("judging"):
        fingerprints = RowFingerprints.of(splits, refitted=lineage.was_refitted)
        incumbent = assess_incumbent(model_name, splits)
        anchor = assess_anchor(model_name, incumbent, splits)
    decision = decide(
        promotion,
        lineage.metric,
        splits.test,
        challenger.scores,
        fingerprints,
        incumbent,
        anchor,
        new_threshold(challenger.manifest, incumbent),
    )
    version = incumbent.version if incumbent else None
    if decision.promoted:
        version = register_promoted(
            challenger, fingerprints, splits, decision, model_name, incumbent, pictures
        )
    elif challenger.chance.better and incumbent and not incumbent.scores_like(challenger.scores):
        registered = register_unpromoted(
            challenger, fingerprints, splits, decision, model_name, pictures
        )
        mlflow.set_tag(CHALLENGER_VERSION, registered)
        logger.info("version %s of %s is the challenger", registered, model_name)
    log_outcome(decision.promoted, decision.reason, model_name, version)


def new_threshold(challenger: Manifest, incumbent: Incumbent | None) -> str:
    """Return the challenger's threshold in words if the champion has another, else nothing."""
    if incumbent is None or challenger.threshold == incumbent.threshold:
        return ""
    return f"{challenger.threshold:.6g} ({challenger.threshold_rule})"


def log_outcome(promoted: bool, reason: str, model_name: str, version: str | None) -> None:
    """Set the tags of the decision on the run, and log it to the terminal."""
    mlflow.set_tags(
        {
            PROMOTED: str(promoted).lower(),
            "decision": reason,
            **champion_tags(model_name),
        }
    )
    logger.info("%s: %s", describe_champion(model_name, version, promoted), reason)


if __name__ == "__main__":
    select_champion()
