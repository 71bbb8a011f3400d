"""The refit of the winner, by a second run of its engine's training step."""

import logging
from dataclasses import dataclass

from steps.candidates.queries import EXPORT, export_is_verified
from steps.runtime.errors import StepError
from steps.selection.leaderboard import Candidate
from steps.workflow.running import refit_candidate

logger = logging.getLogger("ml-pipes")


@dataclass(frozen=True)
class ModelToTest:
    """The model that goes to the test: the refitted winner, or its first fit.

    Attributes:
        run_id: The model's run.
        refit_error: The reason if the training step failed to refit the winner; empty otherwise.
    """

    run_id: str
    refit_error: str = ""


def refit_winner(winner: Candidate, reuse: bool) -> ModelToTest:
    """Fit the winner's configuration again, on training and validation rows.

    The first fit is kept if the winner cannot be refitted, if training fails, or if the export of
    the refitted model is not verified.

    Args:
        winner: The best candidate.
        reuse: Whether a finished run of the same refit may be reused.
    """
    if not winner.refittable:
        logger.info("%s cannot be refitted; using the first fit", winner)
        return ModelToTest(winner.run_id)
    try:
        refitted = refit_candidate(winner.run_id, reuse)
    except StepError as error:
        logger.warning("%s; using the first fit", error)
        return ModelToTest(winner.run_id, error.reason)
    if not export_is_verified(refitted):
        reason = refitted.data.tags[EXPORT]
        logger.warning(
            "the export of the refitted %s is not verified (%s); using the first fit",
            winner,
            reason,
        )
        return ModelToTest(winner.run_id)
    return ModelToTest(refitted.info.run_id)
