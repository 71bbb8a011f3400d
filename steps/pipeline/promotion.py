"""Whether a challenger replaces the champion, decided on the same test rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.errors import InputError, ScorerError
from serving.registry import SCORER_IN_MODEL
from serving.scorer import PortableScorer
from steps.pipeline.evaluation import FEWEST_ROWS_OF_A_CLASS, Floats
from steps.pipeline.intervals import Estimate, Interval, difference
from steps.pipeline.registry import SEEN_IN_MODEL, downloaded, find_champion
from steps.pipeline.rows import Seen, record_hashes
from steps.pipeline.splits import Part, Splits


@dataclass(frozen=True)
class Incumbent:
    """The present champion on the test rows.

    Attributes:
        version: its number in the registry.
        seen: the rows that it has seen; None if its version does not tell.
        scores: shape (n_rows,); None if it cannot score these rows, which `problem` explains.
        unseen: which of the rows are a test of it, shape (n_rows,).
    """

    version: str
    seen: Seen | None
    scores: Floats | None
    unseen: npt.NDArray[np.bool_]
    problem: str = ""


@dataclass(frozen=True)
class Comparison:
    """A metric of challenger and incumbent on the test rows that the incumbent has not seen."""

    metric: str
    version: str
    challenger: float
    incumbent: float
    difference: float
    interval: Interval
    rows: int
    left_out: int

    def __str__(self) -> str:
        text = (
            f"test {self.metric} {self.challenger:.4f} against {self.incumbent:.4f} of version "
            f"{self.version}, a difference of {self.difference:+.4f} "
            f"[{self.interval.low:+.4f}, {self.interval.high:+.4f}] on {self.rows:,} rows"
        )
        if self.left_out:
            text += f" ({self.left_out:,} left out: version {self.version} has seen them)"
        return text


@dataclass(frozen=True)
class Decision:
    """Whether the challenger is promoted, and why, in words for a person."""

    promoted: bool
    reason: str


def assess_incumbent(model_name: str, splits: Splits) -> Incumbent | None:
    """Return the champion of `model_name` scored on the test rows, or None if there is none.

    Rows are recognised by the features of the incumbent: the table may have got others since.

    Raises:
        RegistryError: its artifact cannot be read now, which says nothing of the champion.
    """
    version = find_champion(model_name)
    if version is None:
        return None
    number, test = str(version.version), splits.test
    unseen = np.ones(len(test.frame), bool)
    with downloaded(model_name, number) as model:
        seen = Seen.read(model / SEEN_IN_MODEL)
        try:
            scorer = PortableScorer.load(model / SCORER_IN_MODEL)
            scores = scorer.score(test.frame)
        except (InputError, ScorerError) as error:
            return Incumbent(number, seen, None, unseen, str(error))
    if seen is not None:
        times = splits.times_of(test) if seen.until else None
        hashes = record_hashes(test.frame[scorer.names], test.y, times)
        unseen = ~np.isin(hashes, seen.hashes)
    return Incumbent(number, seen, scores, unseen)


def compare(metric: str, test: Part, challenger: Floats, incumbent: Incumbent) -> Comparison | None:
    """Compare both on the rows that the incumbent has not seen; None if they are too few.

    Args:
        metric: the champion metric.
        test: the test rows.
        challenger: its scores of these rows, shape (n_rows,).
        incumbent: the present champion; it must have scores.
    """
    assert incumbent.scores is not None
    unseen = incumbent.unseen
    y = test.y[unseen]
    if min((y == 1).sum(), (y == 0).sum()) < FEWEST_ROWS_OF_A_CLASS["test"]:
        return None
    ours, theirs = (Estimate(y, scores[unseen]) for scores in (challenger, incumbent.scores))
    value, interval = difference(ours, theirs, metric)
    return Comparison(
        metric=metric,
        version=incumbent.version,
        challenger=ours.metrics[metric],
        incumbent=theirs.metrics[metric],
        difference=value,
        interval=interval,
        rows=len(y),
        left_out=int((~unseen).sum()),
    )


def decide(
    promotion: str, metric: str, test: Part, challenger: Floats, fitted: Seen, incumbent: Incumbent
) -> Decision:
    """Decide by the parameter `promotion` whether the challenger replaces `incumbent`.

    better: its metric is higher. significant: the 95 % interval of the paired difference lies
    above zero. auto: a challenger that was fitted on newer or more rows must not be
    significantly worse; any other must be significantly better. always: what it says.

    Args:
        promotion: one of these.
        metric: the champion metric.
        test: the test rows.
        challenger: its scores of these rows, shape (n_rows,).
        fitted: what the challenger was fitted on.
        incumbent: the present champion.
    """
    name = f"version {incumbent.version}"
    if incumbent.scores is None:
        return Decision(True, f"{name} cannot be scored on this data: {incumbent.problem}")
    compared = compare(metric, test, challenger, incumbent)
    if promotion == "always":
        return Decision(True, f"promotion=always ({compared or 'nothing to compare on'})")
    if compared is None:
        return Decision(
            False,
            f"{name} has seen all but {int(incumbent.unseen.sum()):,} of the test rows, too few "
            "to compare on: bring newer data, or pass -P promotion=always",
        )
    if promotion == "auto":
        advance = fitted.advance_over(incumbent.seen)
        if not advance:
            promotion = "significant"
        elif compared.interval.high < 0:
            return Decision(False, f"it is significantly worse: {compared}")
        else:
            return Decision(True, f"{advance}, and is not significantly worse: {compared}")
    if promotion == "significant":
        better = compared.interval.low > 0
        return Decision(better, f"it is {'' if better else 'not '}significantly better: {compared}")
    better = compared.difference > 0
    return Decision(better, f"it is {'' if better else 'not '}better: {compared}")
