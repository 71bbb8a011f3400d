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
from serving.model.probabilities import combine
from serving.model.scorer import PortableScorer
from steps.candidates.queries import (
    CONFIGURATION,
    ENSEMBLE,
    SCORER,
    download_scorer,
    read_configuration,
    validation_scores,
)
from steps.candidates.recording import (
    check_export,
    log_evaluation,
    log_export,
    log_summary,
    log_verdict,
    refit_run,
)
from steps.data.logged_splits import LoggedSplits
from steps.data.splits import Split
from steps.evaluation.metrics import Floats, ks_threshold
from steps.export.verification import ExportCheck
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
            other rows, shape (n_rows,). The threshold is one of them.
        splits: The splits of the members.
    """
    name = f"{ENSEMBLE} {_algorithm(members)}"
    with mlflow.start_run(run_name=name, nested=True):
        metrics = log_evaluation(name, cross_fitted, splits, refittable=True)
        threshold = ks_threshold(splits.validation.y, cross_fitted)
        export = _log_ensemble(members, splits, threshold, title=name)
    log_summary(name, metrics, export)
    logger.info("%s: %s", name, describe(members))


def record_ensemble_refit(
    members: Sequence[EnsembleMember], splits: LoggedSplits, refit_of: str
) -> str:
    """Log an ensemble of refitted members as a child run, and return the run's id.

    The threshold is that of the first fit.

    Args:
        members: The members, with the runs of their refits or, where these failed, first fits.
        splits: The splits of the members.
        refit_of: The run of the ensemble of their first fits.
    """
    name = f"{ENSEMBLE} {_algorithm(members)}"
    with refit_run(name, splits, refit_of) as (run, first_fit):
        export = _log_ensemble(members, splits, first_fit.threshold)
    logger.info("%s: refitted; export %s", name, export)
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
    members: Sequence[EnsembleMember], splits: LoggedSplits, threshold: float, title: str = ""
) -> str:
    """Log the portable scorer of an ensemble; return the result of its check in words."""
    algorithm = _algorithm(members)
    mlflow.set_tags({"engine": ENSEMBLE, "algorithm": algorithm, "data_run_id": splits.run_id})
    mlflow.log_dict({"members": [asdict(member) for member in members]}, CONFIGURATION)
    mlflow.log_param("members", describe(members))
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        folder = Path(temporary)
        try:
            with timed("exporting"), _downloaded(members) as scorers:
                _assemble(members, scorers, threshold, folder)
                scorer = PortableScorer.load(folder)
                check, failures = _verify(scorer, members, scorers, splits)
        except ServingError as error:
            return log_verdict([str(error)])
        mlflow.log_artifacts(temporary, SCORER)
        log_export(scorer, check, failures, splits.validation, title)
    return log_verdict(failures)


@contextmanager
def _downloaded(members: Sequence[EnsembleMember]) -> Iterator[list[Path]]:
    """Provide local copies of the members' portable scorers, removed on exit."""
    with ExitStack() as stack:
        yield [stack.enter_context(download_scorer(member.run_id)) for member in members]


def _assemble(
    members: Sequence[EnsembleMember], scorers: Sequence[Path], threshold: float, folder: Path
) -> None:
    """Write the portable scorer of an ensemble into `folder`, from those of its members."""
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
        threshold=threshold,
        format_version=ENSEMBLE_FORMAT_VERSION,
    ).write(folder)


def _verify(
    scorer: PortableScorer,
    members: Sequence[EnsembleMember],
    scorers: Sequence[Path],
    splits: LoggedSplits,
) -> tuple[ExportCheck, list[str]]:
    """Compare an ensemble with its members' models on validation rows.

    On edge rows it is compared with their exports, which were verified on them: the models
    themselves run in other steps.
    """
    weights = [member.weight for member in members]
    native = combine([validation_scores(member.run_id) for member in members], weights)

    def score_exports(edge: Split) -> Floats:
        return combine(
            [PortableScorer.load(folder).score(edge.frame) for folder in scorers], weights
        )

    return check_export(scorer, native, score_exports, splits)
