"""The test of the challenger on the test split, which no other step reads."""

import logging
from dataclasses import dataclass
from pathlib import Path

import mlflow
from matplotlib.figure import Figure

from serving.model.manifest import Manifest
from serving.model.scorer import PortableScorer
from steps.data.logged_splits import LoggedSplits
from steps.data.splits import Split
from steps.evaluation.chance import ChanceTest
from steps.evaluation.intervals import Estimate, Interval, bounds, threshold_metric_intervals
from steps.evaluation.leakage import describe_leak
from steps.evaluation.metrics import Floats, Labels, threshold_metrics
from steps.export.scoring import scores_of
from steps.plots.curves import curves
from steps.plots.style import log_pictures
from steps.plots.thresholds import threshold_plots
from steps.registry.champion_model import Lineage
from steps.runtime.progress import timed
from steps.runtime.threshold_rule import ThresholdRule
from steps.selection.holdout_uses import DIGEST_TAG, uses_of_test_rows

logger = logging.getLogger("ml-pipes")

# Tags of a selection and of the version that it registers.
BETTER_THAN_CHANCE = "better_than_chance"
WARNING = "warning"


@dataclass(frozen=True)
class Challenger:
    """The winner and its results on the test rows.

    Attributes:
        lineage: The runs and the data that it comes from.
        scorer: The folder of its portable scorer.
        manifest: The manifest of that scorer.
        scores: Its scores of the test rows, shape (n_rows,).
        metrics: Its metrics by name, without prefix.
        intervals: Their 95 % intervals.
        pictures: Plots as PNG by file name.
        test_uses: How many selections have used these test rows, this one included.
        chance: Its test against chance.
        warning: What people should know about it, such as a hint at a leak; often empty.
    """

    lineage: Lineage
    scorer: Path
    manifest: Manifest
    scores: Floats
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    pictures: dict[str, bytes]
    test_uses: int
    chance: ChanceTest
    warning: str

    @property
    def verdict_tags(self) -> dict[str, str]:
        """The tags that say whether it can be trusted."""
        tags = {BETTER_THAN_CHANCE: str(self.chance.better).lower()}
        return tags | ({WARNING: self.warning} if self.warning else {})


def run_holdout_test(lineage: Lineage, scorer_folder: Path, splits: LoggedSplits) -> Challenger:
    """Score the test rows with a portable scorer; log metrics `test_*` and plots."""
    test = splits.test
    splits.log_inputs(test)
    uses = uses_of_test_rows(splits) + 1
    # Before the test: an interrupted one counts, too.
    mlflow.set_tags({DIGEST_TAG: splits.description.digests[test.name], "test_uses": str(uses)})
    scorer = PortableScorer.load(scorer_folder)
    threshold = scorer.manifest.threshold
    with timed("judging"):
        scores = scores_of(scorer, test)
        estimate = Estimate(test.y, scores)
        metrics = estimate.metrics | threshold_metrics(test.y, scores, threshold)
        intervals = estimate.intervals | threshold_metric_intervals(test.y, scores, threshold)
    figures = _figures(test.y, scores, scorer.manifest, f"{lineage.algorithm}, test")
    chance = ChanceTest.of(test.y, scores)
    challenger = Challenger(
        lineage=lineage,
        scorer=scorer_folder,
        manifest=scorer.manifest,
        scores=scores,
        metrics=metrics,
        intervals=intervals,
        pictures=log_pictures(figures, "plots/test"),
        test_uses=uses,
        chance=chance,
        warning=_warning(chance, metrics["ks"], test),
    )
    _log_results(challenger)
    return challenger


def _figures(y: Labels, scores: Floats, manifest: Manifest, title: str) -> dict[str, Figure]:
    """Return the plots of scores, and of the thresholds that they allow, by file name."""
    rule = ThresholdRule.parse(manifest.threshold_rule)
    costs = rule.values if rule.name == "cost" else ()
    thresholds = threshold_plots(y, scores, manifest.threshold, costs, title)
    return curves(y, scores, title) | thresholds


def _log_results(challenger: Challenger) -> None:
    """Log metrics, intervals and tags to the active run."""
    values = challenger.metrics | bounds(challenger.intervals)
    mlflow.log_metrics({f"test_{name}": value for name, value in values.items()})
    manifest, lineage = challenger.manifest, challenger.lineage
    mlflow.set_tags(
        {
            "threshold": f"{manifest.threshold:.6g}",
            "threshold_rule": manifest.threshold_rule,
        }
        | challenger.verdict_tags
    )
    if challenger.warning:
        logger.warning("%s %s: %s", lineage.engine, lineage.algorithm, challenger.warning)


def _warning(chance: ChanceTest, ks: float, test: Split) -> str:
    if not chance.better:
        return f"the model is {chance}"
    return describe_leak(test.X, test.y) if ks == 1 else ""
