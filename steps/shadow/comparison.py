"""Champion and challenger on the same labelled predictions.

The challenger scored them in the shadow of the service, right after the champion had answered. So
both versions are older than these rows and their labels, and neither has learned from them.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import sqlalchemy as sa
from mlflow.entities.model_registry import ModelVersion

from serving.log.paired_queries import COLUMNS, stream_pairs
from serving.log.queries import Cursor, start_of_last
from steps.data.fingerprints import RowFingerprints
from steps.data.splits import Split
from steps.evaluation.chance import ChanceTest
from steps.evaluation.metrics import Floats
from steps.monitoring.label_coverage import describe_coverage_bias
from steps.monitoring.monitored_champion import MonitoredChampion
from steps.monitoring.performance import MIN_LABELS_PER_CLASS
from steps.monitoring.window import ROWS_PER_CHUNK
from steps.registry.anchor import anchor_of
from steps.registry.challengers import CHALLENGER_VERSION, find_challenger
from steps.selection.incumbent import Incumbent
from steps.selection.promotion import MARGINS, Comparison, Decision, compare, decide

logger = logging.getLogger("ml-pipes")

LIVE = "live"
# Tag of a monitoring run.
VERDICT = "challenger_verdict"


@dataclass(frozen=True)
class ShadowComparison:
    """The predictions that champion and challenger both made.

    Attributes:
        metric: the champion metric.
        champion: the champion's version.
        challenger: the challenger's version.
        rows: all these predictions, oldest first, with `paired_queries.COLUMNS`.
    """

    metric: str
    champion: ModelVersion
    challenger: ModelVersion
    rows: pd.DataFrame

    @property
    def labelled(self) -> pd.DataFrame:
        """The rows with ground truth."""
        return self.rows[self.rows["true_label"].notna()]

    @property
    def obstacle(self) -> str:
        """The reason why the two cannot be compared; empty if they can."""
        positives = int((self.labelled["true_label"] == 1).sum())
        negatives = len(self.labelled) - positives
        if min(positives, negatives) < MIN_LABELS_PER_CLASS:
            return (
                f"{positives} positive and {negatives} negative labels for the "
                f"{len(self.rows):,} predictions of both; at least {MIN_LABELS_PER_CLASS} of each "
                "class are required"
            )
        for role, prefix in (("champion", ""), ("challenger", "shadow_")):
            if bias := describe_coverage_bias(self._coverage(prefix)):
                return f"labels do not cover the {role}'s scores evenly: {bias}"
        return ""

    def compared(self, metric: str) -> Comparison:
        """Return the paired difference of a metric on the labelled rows.

        There must be no `obstacle`.
        """
        test, scores, incumbent = self._as_test()
        compared = compare(metric, test, scores, incumbent)
        assert compared is not None  # the labels suffice, and neither version has seen the rows
        return compared

    def decide(
        self, challenger_rows: RowFingerprints | None, champion_rows: RowFingerprints | None
    ) -> Decision:
        """Decide as a selection with `promotion=auto` does.

        The anchor has not scored these rows. If the champion is not its own anchor, the challenger
        must therefore be significantly better than the champion.

        There must be no `obstacle`.

        Args:
            challenger_rows: the rows that the challenger was fitted on.
            champion_rows: the rows that the champion was fitted on.
        """
        test, scores, incumbent = self._as_test(champion_rows)
        if not (chance := ChanceTest.of(test.y, scores)).better:
            reason = "it ranks the labelled predictions no better than chance"
            return Decision(False, f"{reason} (one-sided Mann-Whitney p = {chance.p_value:.2g})")
        is_anchor = anchor_of(self.champion) == str(self.champion.version)
        rule = "auto" if is_anchor and challenger_rows is not None else "significant"
        fitted = challenger_rows or RowFingerprints(np.empty(0, np.uint64), 0, "")
        return decide(rule, self.metric, test, scores, fitted, incumbent)

    def _as_test(
        self, champion_rows: RowFingerprints | None = None
    ) -> tuple[Split, Floats, Incumbent]:
        """Return what `steps.selection.promotion` compares: rows, challenger's scores, champion."""
        labelled = self.labelled
        frame = pd.DataFrame({"true_label": labelled["true_label"].to_numpy(np.int64)})
        incumbent = Incumbent(
            version=str(self.champion.version),
            fingerprints=champion_rows,
            scores=labelled["score"].to_numpy(np.float64),
            unseen=np.ones(len(frame), bool),
        )
        test = Split(LIVE, Path(), [], "true_label", in_memory=frame)
        return test, labelled["shadow_score"].to_numpy(np.float64), incumbent

    def _coverage(self, prefix: str) -> pd.DataFrame:
        rows = self.rows
        columns = {
            "score": rows[f"{prefix}score"],
            "alert": rows[f"{prefix}label"] == 1,
            "labelled": rows["true_label"].notna(),
        }
        return pd.DataFrame(columns)


def read_comparison(
    connection: sa.Connection,
    champion: MonitoredChampion,
    since: datetime | None,
    until: datetime | None,
    last: int | None,
) -> ShadowComparison | None:
    """Read the predictions that both versions made; None without a challenger or any of these."""
    model_name = champion.registered.name
    challenger = find_challenger(model_name)
    if challenger is None:
        return None
    start: datetime | Cursor | None = since
    if last is not None:
        start = start_of_last(connection, model_name, last)
    registered_at = datetime.fromtimestamp(challenger.creation_timestamp / 1000, UTC)
    chunks = stream_pairs(
        connection,
        model_name,
        champion.run_id,
        str(challenger.version),
        registered_at,
        start,
        until,
        ROWS_PER_CHUNK,
    )
    frames = [pd.DataFrame(chunk, columns=list(COLUMNS)) for chunk in chunks]
    if not frames:
        return None
    rows = pd.concat(frames, ignore_index=True).astype({"true_label": "Int64"})
    return ShadowComparison(champion.metric, champion.registered, challenger, rows)


def log_comparison(comparison: ShadowComparison) -> None:
    """Log the comparison to the active run, and its outcome to the terminal."""
    version = str(comparison.challenger.version)
    mlflow.log_metrics(
        {"shadow_predictions": len(comparison.rows), "shadow_labels": len(comparison.labelled)}
    )
    verdict = comparison.obstacle
    if not verdict:
        for metric in MARGINS:
            mlflow.log_metrics(_metrics(comparison.compared(metric)))
        verdict = str(comparison.compared(comparison.metric))
    mlflow.set_tags({CHALLENGER_VERSION: version, VERDICT: verdict})
    logger.info("challenger version %s: %s", version, verdict)


def _metrics(compared: Comparison) -> dict[str, float]:
    name, interval = compared.metric, compared.difference.interval
    return {
        f"shadow_{name}": compared.challenger,
        f"shadow_{name}_champion": compared.incumbent,
        f"shadow_{name}_difference": compared.difference.value,
        f"shadow_{name}_difference_low": interval.low,
        f"shadow_{name}_difference_high": interval.high,
    }
