"""Promotion of a challenger that wins on labelled predictions."""

import logging

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from steps.data.fingerprints import RowFingerprints
from steps.registry.anchor import SELF, anchor_of
from steps.registry.challengers import find_challenger
from steps.registry.champion_changes import exclusive_champion_change, promote_challenger
from steps.registry.champion_model import FINGERPRINTS_IN_MODEL
from steps.registry.description import update_description
from steps.registry.history import log_champion_history
from steps.registry.versions import download_version, find_champion
from steps.selection.promotion import Decision
from steps.shadow.comparison import ShadowComparison

logger = logging.getLogger("ml-pipes")

# Tags of a monitoring run.
PROMOTED, DECISION = "challenger_promoted", "promotion_decision"


def promote_winner(comparison: ShadowComparison, run: Run) -> bool:
    """Promote the challenger if it wins; return whether it was promoted."""
    decision = _decide(comparison)
    if decision.promoted:
        decision = _promote_if_unchanged(comparison, decision, run)
    tags = {PROMOTED: str(decision.promoted).lower(), DECISION: decision.reason}
    for tag, value in tags.items():
        mlflow.MlflowClient().set_tag(run.info.run_id, tag, value)
    outcome = "is the champion" if decision.promoted else "is not promoted"
    logger.info(
        "version %s of %s %s: %s",
        comparison.challenger.version,
        comparison.champion.name,
        outcome,
        decision.reason,
    )
    return decision.promoted


def _decide(comparison: ShadowComparison) -> Decision:
    if obstacle := comparison.obstacle:
        return Decision(False, obstacle)
    return comparison.decide(
        _fingerprints(comparison.challenger), _fingerprints(comparison.champion)
    )


def _promote_if_unchanged(comparison: ShadowComparison, decision: Decision, run: Run) -> Decision:
    """Promote the challenger unless another process changed an alias since the comparison.

    Returns:
        The decision to promote it, or the one not to.
    """
    champion, challenger = comparison.champion, comparison.challenger
    name = champion.name
    with exclusive_champion_change(name):
        if not _unchanged(comparison):
            return Decision(False, "the champion or the challenger changed during the comparison")
        promote_challenger(
            name,
            str(challenger.version),
            instead_of=str(champion.version),
            run_id=run.info.run_id,
            reason=decision.reason,
            anchor=SELF if decision.becomes_anchor else anchor_of(champion),
        )
        log_champion_history(name)
        update_description(name)
    return decision


def _unchanged(comparison: ShadowComparison) -> bool:
    """Return whether champion and challenger are still those that were compared."""
    present = find_champion(comparison.champion.name), find_challenger(comparison.champion.name)
    compared = comparison.champion, comparison.challenger
    return all(
        found is not None and found.version == other.version
        for found, other in zip(present, compared, strict=True)
    )


def _fingerprints(version: ModelVersion) -> RowFingerprints | None:
    with download_version(version.name, str(version.version)) as model:
        return RowFingerprints.read(model / FINGERPRINTS_IN_MODEL)
