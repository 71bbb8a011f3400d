"""The refit of the winner, by a second run of its engine's training step."""

import logging
from dataclasses import dataclass, replace

import mlflow
from mlflow.entities import Run

from steps.candidates.ensembles import EnsembleMember, read_members, record_ensemble_refit
from steps.candidates.queries import ENSEMBLE, EXPORT, export_is_verified
from steps.data.logged_splits import LoggedSplits
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


def refit_winner(winner: Candidate, splits: LoggedSplits, reuse: bool) -> ModelToTest:
    """Fit the winner's configuration again, on training and validation rows.

    The first fit is kept if the winner cannot be refitted, if training fails, or if the export of
    the refitted model is not verified. An ensemble is refitted through its members.

    Args:
        winner: The best candidate.
        splits: The splits that it was fitted on.
        reuse: Whether a finished run of the same refit may be reused.
    """
    if winner.engine == ENSEMBLE:
        return _refit_ensemble(winner, splits, reuse)
    return _refit_single(winner, reuse)


def _refit_single(winner: Candidate, reuse: bool) -> ModelToTest:
    if not winner.refittable:
        logger.info("%s cannot be refitted; using the first fit", winner)
        return ModelToTest(winner.run_id)
    try:
        refitted = refit_candidate(winner.run_id, reuse)
    except StepError as error:
        logger.warning("%s; using the first fit", error)
        return ModelToTest(winner.run_id, error.reason)
    return ModelToTest(_verified_or_first(refitted, winner))


def _refit_ensemble(winner: Candidate, splits: LoggedSplits, reuse: bool) -> ModelToTest:
    """Refit each member of an ensemble; one that cannot be refitted stays as it is."""
    members, errors = [], []
    for member in read_members(winner.run_id):
        model = _refit_single(
            Candidate(member.engine, member.algorithm, member.run_id, refittable=True), reuse
        )
        refitted = model.run_id != member.run_id
        members.append(replace(member, run_id=model.run_id, refitted=refitted))
        if model.refit_error:
            errors.append(f"{member}: {model.refit_error}")
    error = "; ".join(errors)
    if not any(member.refitted for member in members):
        logger.warning("no member of %s could be refitted; using the first fit", winner)
        return ModelToTest(winner.run_id, error)
    _report_first_fits(members)
    refit = mlflow.get_run(record_ensemble_refit(members, splits, winner.run_id))
    return ModelToTest(_verified_or_first(refit, winner), error)


def _report_first_fits(members: list[EnsembleMember]) -> None:
    if kept := [str(member) for member in members if not member.refitted]:
        logger.warning("the refitted ensemble has the first fit of %s", ", ".join(kept))


def _verified_or_first(refitted: Run, winner: Candidate) -> str:
    """Return the run of a refitted model, or of its first fit if the export is not verified."""
    if export_is_verified(refitted):
        return refitted.info.run_id
    logger.warning(
        "the export of the refitted %s is not verified (%s); using the first fit",
        winner,
        refitted.data.tags[EXPORT],
    )
    return winner.run_id
