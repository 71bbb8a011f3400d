"""The decision between challenger and incumbent, on the same test rows."""

from dataclasses import dataclass

from steps.data.fingerprints import RowFingerprints
from steps.data.splits import Split
from steps.evaluation.chance import ChanceTest
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import MIN_ROWS_PER_CLASS, Floats
from steps.evaluation.paired import PairedDifference, paired_difference
from steps.selection.incumbent import Incumbent

# With `auto`, a challenger that was fitted on newer or more rows may be worse by this much.
MARGINS = {"ks": 0.05, "roc_auc": 0.02, "average_precision": 0.05}


@dataclass(frozen=True)
class Comparison:
    """A metric of challenger and another version on the test rows that the other has not seen.

    Attributes:
        metric: The name of the metric.
        version: The other version.
        role: `champion` or `anchor`.
        challenger: The challenger's value.
        incumbent: The other version's value.
        difference: The challenger's value minus the other version's.
        rows: The number of rows compared on.
        left_out: The number of test rows left out because the other version has seen them.
        split: The name of these rows: `test`, or `live` for labelled predictions.
    """

    metric: str
    version: str
    role: str
    challenger: float
    incumbent: float
    difference: PairedDifference
    rows: int
    left_out: int
    split: str = "test"

    @property
    def margin(self) -> float:
        """The difference below zero that still counts as equal."""
        return MARGINS[self.metric]

    @property
    def significantly_better(self) -> bool:
        """Whether the 95 % interval of the difference lies above zero."""
        return self.difference.interval.low > 0

    @property
    def not_inferior(self) -> bool:
        """Whether the one-sided 95 % lower bound of the difference lies above minus the margin.

        With few positives, that bound may be lower than the interval: better is not inferior.
        """
        return self.significantly_better or self.difference.lower_bound > -self.margin

    @property
    def objection(self) -> str:
        """The reason why the challenger may be inferior by more than the margin."""
        other = f"the {self.role}, version {self.version}"
        if self.difference.interval.high < 0:
            return f"it is significantly worse than {other}"
        if self.difference.value <= -self.margin:
            return (
                f"its {self.metric} is at least {self.margin:g}, the margin, below that of {other}"
            )
        missing = self.difference.positives_missing(self.margin)
        return (
            f"with {self.difference.positives:,} positives in the comparison, its {self.metric} "
            f"may be more than {self.margin:g} below that of {other} (lower bound of the "
            f"difference {self.difference.lower_bound:+.4f}); about {missing:,} more positives are "
            "needed at this difference"
        )

    def __str__(self) -> str:
        interval = self.difference.interval
        text = (
            f"{self.split} {self.metric} {self.challenger:.4f} against {self.incumbent:.4f} of "
            f"version {self.version}, a difference of {self.difference.value:+.4f} "
            f"[{interval.low:+.4f}, {interval.high:+.4f}] on {self.rows:,} rows"
        )
        if self.left_out:
            text += f" ({self.left_out:,} left out: version {self.version} has seen them)"
        return text


@dataclass(frozen=True)
class Decision:
    """The outcome for the challenger.

    Attributes:
        promoted: Whether it becomes champion.
        reason: The reason as text.
        becomes_anchor: Whether it becomes the anchor of later decisions: it is the first version,
            significantly better than the champion, or there is no comparison with the champion
            because that cannot score the rows.
    """

    promoted: bool
    reason: str
    becomes_anchor: bool = False


def decide(
    promotion: str,
    metric: str,
    test: Split,
    challenger: Floats,
    fingerprints: RowFingerprints,
    incumbent: Incumbent | None,
    anchor: Incumbent | None = None,
    new_threshold: str = "",
) -> Decision:
    """Decide whether the challenger becomes champion.

    Args:
        promotion: `better`: a higher metric. `significant`: the 95 % interval of the paired
            difference lies above zero. `auto`: better than chance, and, if fitted on newer or more
            rows, not inferior to champion and anchor by the margin of the metric; otherwise
            `significant`. `always`: no condition.
        metric: The champion metric.
        test: The test split.
        challenger: The challenger's scores of the test rows, shape (n_rows,).
        fingerprints: The rows that the challenger was fitted and selected on.
        incumbent: The present champion; None if there is none.
        anchor: The anchor of the present champion; None if that is the champion itself.
        new_threshold: The threshold of the challenger in words if the champion has another; empty
            if it has the same.
    """
    chance = ChanceTest.of(test.y, challenger)
    if promotion == "auto" and not chance.better:
        return Decision(
            False,
            f"it is {chance}, so promotion=auto registers nothing; -P promotion=always would "
            "register it and make it the champion",
        )
    if incumbent is None:
        return Decision(True, "it is the first champion of this model", becomes_anchor=True)
    name = f"version {incumbent.version}"
    if incumbent.scores is None:
        reason = f"{name} cannot be scored on this data: {incumbent.problem}"
        return Decision(True, reason, becomes_anchor=True)
    compared = compare(metric, test, challenger, incumbent)
    better = compared is not None and compared.significantly_better
    if promotion == "always":
        return Decision(True, f"promotion=always ({compared or 'no rows to compare on'})", better)
    if promotion == "auto" and new_threshold and incumbent.scores_like(challenger):
        return Decision(True, f"it is the model of {name} with another threshold, {new_threshold}")
    if compared is None:
        return Decision(False, _too_few(test, incumbent))
    if promotion == "auto" and (advance := fingerprints.advance_over(incumbent.fingerprints)):
        return _decide_on_advance(advance, compared, test, challenger, anchor)
    if promotion in ("auto", "significant"):
        return _decide_by_significance(compared)
    higher = compared.difference.value > 0
    return Decision(higher, f"it is {'' if higher else 'not '}better: {compared}", better)


def compare(
    metric: str, test: Split, challenger: Floats, other: Incumbent, role: str = "champion"
) -> Comparison | None:
    """Compare both on the rows that the other version has not seen; None if too few are left.

    Args:
        metric: The champion metric.
        test: The test split.
        challenger: The challenger's scores of the test rows, shape (n_rows,).
        other: The present champion or its anchor, which must have scores.
        role: `champion` or `anchor`.
    """
    assert other.scores is not None
    unseen = other.unseen
    y = test.y[unseen]
    if min((y == 1).sum(), (y == 0).sum()) < MIN_ROWS_PER_CLASS["test"]:
        return None
    ours, theirs = (Estimate(y, scores[unseen]) for scores in (challenger, other.scores))
    return Comparison(
        metric=metric,
        version=other.version,
        role=role,
        challenger=ours.value(metric),
        incumbent=theirs.value(metric),
        difference=paired_difference(ours, theirs, metric),
        rows=len(y),
        left_out=int((~unseen).sum()),
        split=test.name,
    )


def _decide_on_advance(
    advance: str,
    compared: Comparison,
    test: Split,
    challenger: Floats,
    anchor: Incumbent | None,
) -> Decision:
    """Require a challenger with an `advance` in data not to be inferior to champion and anchor.

    An anchor that cannot score the rows is left out.
    """
    comparisons = [compared]
    if anchor is not None and anchor.scores is not None:
        with_anchor = compare(compared.metric, test, challenger, anchor, "anchor")
        if with_anchor is None:
            return Decision(False, _too_few(test, anchor))
        comparisons.append(with_anchor)
    figures = "; anchor: ".join(map(str, comparisons))
    for comparison in comparisons:
        if not comparison.not_inferior:
            return Decision(False, f"{comparison.objection}: {figures}")
    without = ""
    if anchor is not None and anchor.scores is None:
        without = f"; anchor: version {anchor.version} cannot be scored: {anchor.problem}"
    significance = "significantly better" if compared.significantly_better else "not inferior"
    reason = f"{advance} and is {significance} (margin {compared.margin:g}): {figures}{without}"
    return Decision(True, reason, compared.significantly_better)


def _too_few(test: Split, other: Incumbent) -> str:
    positives = int((test.y[other.unseen] == 1).sum())
    text = (
        f"version {other.version} has seen all but {int(other.unseen.sum()):,} of the test rows, "
        "too few to compare on: add newer data, or pass -P promotion=always"
    )
    missing = MIN_ROWS_PER_CLASS["test"] - positives
    return f"{text} ({missing} more positives are needed)" if missing > 0 else text


def _decide_by_significance(compared: Comparison) -> Decision:
    better = compared.significantly_better
    reason = f"it is {'' if better else 'not '}significantly better: {compared}"
    return Decision(better, reason, better)
