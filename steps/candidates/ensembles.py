"""Records of ensembles, candidates that combine others, as runs in MLflow."""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import mlflow

from serving.errors import ServingError
from serving.model.ensemble import member_folder
from serving.model.manifest import ENSEMBLE_FORMAT_VERSION, MANIFEST, Manifest, Member
from serving.model.probabilities import Calibration, combine
from serving.model.scorer import PortableScorer
from steps.candidates.evaluation import log_evaluation, log_summary
from steps.candidates.exports import Export, FailedExport, check_export, log_export
from steps.candidates.queries import (
    CONFIGURATION,
    ENSEMBLE,
    download_scorer,
    native_scores,
    read_configuration,
)
from steps.candidates.recording import refit_run
from steps.data.logged_splits import LoggedSplits
from steps.data.splits import Split
from steps.evaluation.metrics import Floats, ks_threshold
from steps.evaluation.platt import learn_calibration
from steps.runtime.progress import timed

logger = logging.getLogger("ml-pipes")


@dataclass(frozen=True)
class EnsembleMember:
    """A candidate in an ensemble.

    Attributes:
        engine: Its engine.
        algorithm: Its engine's name for its algorithm.
        run_id: The run of its model.
        weight: Its share of the ensemble's log-odds.
        refitted: Whether the model was fitted on the validation rows, too.
    """

    engine: str
    algorithm: str
    run_id: str
    weight: float
    refitted: bool = False

    def __str__(self) -> str:
        return f"{self.engine} {self.algorithm}"


def record_ensemble(
    members: Sequence[EnsembleMember], cross_fitted: Floats, splits: LoggedSplits
) -> None:
    """Log an ensemble as a child run, with the metrics of its cross-fitted scores.

    Args:
        members: Its members, candidates with verified exports; their weights add up to 1.
        cross_fitted: Scores of the validation rows by ensembles whose weights were selected on
            other rows, shape (n_rows,). The calibration is learned on them, and the threshold is
            one of them after it.
        splits: The splits of the members.
    """
    name, y = f"{ENSEMBLE} {_algorithm(members)}", splits.validation.y
    with mlflow.start_run(run_name=name, nested=True):
        with timed("judging"):
            scaling = learn_calibration(y, cross_fitted)
        metrics = log_evaluation(name, scaling, cross_fitted, splits, refittable=True)
        threshold = ks_threshold(y, scaling.scores)
        verdict = _log_ensemble(members, splits, scaling.calibration, threshold, title=name)
    log_summary(name, metrics, scaling, verdict)
    logger.info("%s: %s", name, describe(members))


def record_ensemble_refit(
    members: Sequence[EnsembleMember], splits: LoggedSplits, refit_of: str
) -> str:
    """Log an ensemble of refitted members as a child run, and return the run's id.

    Calibration and threshold are those of the first fit.

    Args:
        members: The members, with the runs of their refits or, where these failed, first fits.
        splits: The splits of the members.
        refit_of: The run of the ensemble of their first fits.
    """
    name = f"{ENSEMBLE} {_algorithm(members)}"
    with refit_run(name, splits, refit_of) as (run, first_fit):
        verdict = _log_ensemble(members, splits, first_fit.calibration, first_fit.threshold)
    logger.info("%s: refitted; export %s", name, verdict)
    run_id: str = run.info.run_id
    return run_id


def read_members(run_id: str) -> list[EnsembleMember]:
    """Return the members of an ensemble's run, with the runs of their first fits."""
    members = read_configuration(run_id, ENSEMBLE)["members"]
    return [EnsembleMember(**member) for member in members]


def describe(members: Sequence[EnsembleMember]) -> str:
    """Return the members with their weights, in words."""
    return ", ".join(f"{member} {member.weight:.2f}" for member in members)


def _algorithm(members: Sequence[EnsembleMember]) -> str:
    return f"Greedy Selection of {len(members)}"


def _log_ensemble(
    members: Sequence[EnsembleMember],
    splits: LoggedSplits,
    calibration: Calibration | None,
    threshold: float,
    title: str = "",
) -> str:
    """Log the portable scorer of an ensemble; return the result of its check in words."""
    algorithm = _algorithm(members)
    mlflow.set_tags({"engine": ENSEMBLE, "algorithm": algorithm, "data_run_id": splits.run_id})
    mlflow.log_dict({"members": [asdict(member) for member in members]}, CONFIGURATION)
    mlflow.log_param("members", describe(members))
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        folder = Path(temporary)
        export = _export(members, splits, folder)
        return log_export(export, calibration, threshold, folder, splits.validation, title)


def _export(
    members: Sequence[EnsembleMember], splits: LoggedSplits, folder: Path
) -> Export | FailedExport:
    """Write the portable scorer of an ensemble into `folder`; compare it with the models."""
    try:
        with timed("exporting"), _downloaded(members) as scorers:
            _assemble(members, scorers, folder)
            return _verify(PortableScorer.load(folder), members, scorers, splits)
    except ServingError as error:
        return FailedExport([str(error)])


@contextmanager
def _downloaded(members: Sequence[EnsembleMember]) -> Iterator[list[Path]]:
    """Provide local copies of the members' portable scorers, removed on exit."""
    with ExitStack() as stack:
        yield [stack.enter_context(download_scorer(member.run_id)) for member in members]


def _assemble(members: Sequence[EnsembleMember], scorers: Sequence[Path], folder: Path) -> None:
    """Write the portable scorer of an ensemble into `folder`, from those of its members.

    The members' own calibrations are left out: the ensemble is calibrated as a whole.
    """
    manifests = [Manifest.read(scorer) for scorer in scorers]
    # Where some members are first fits, the others have the statistics of more rows.
    latest = max(zip(members, manifests, strict=True), key=lambda pair: pair[0].refitted)[1]
    described = []
    for place, (member, manifest) in enumerate(zip(members, manifests, strict=True)):
        shutil.copytree(
            scorers[place], member_folder(folder, place), ignore=shutil.ignore_patterns(MANIFEST)
        )
        same = manifest.encodings == latest.encodings
        described.append(
            Member(
                name=str(member),
                kind=manifest.kind,
                weight=member.weight,
                positive_weight=manifest.positive_weight,
                encodings=None if same else manifest.encodings,
            )
        )
    replace(
        latest,
        kind=ENSEMBLE,
        members=tuple(described),
        positive_weight=1.0,
        calibration=None,
        format_version=ENSEMBLE_FORMAT_VERSION,
    ).write(folder)


def _verify(
    scorer: PortableScorer,
    members: Sequence[EnsembleMember],
    scorers: Sequence[Path],
    splits: LoggedSplits,
) -> Export:
    """Compare an ensemble with its members' models on validation rows, before calibration.

    On edge rows it is compared with their exports, which were verified on them: the models
    themselves run in other steps.
    """
    weights = [member.weight for member in members]
    native = combine([native_scores(member.run_id) for member in members], weights)

    def score_exports(edge: Split) -> Floats:
        exports = [PortableScorer.load(folder).uncalibrated for folder in scorers]
        return combine([export.score(edge.frame) for export in exports], weights)

    return check_export(scorer, native, score_exports, splits)
