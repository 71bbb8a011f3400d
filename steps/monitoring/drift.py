"""Drift of live predictions from the champion's reference sample, measured with Evidently."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logit

from serving.model.manifest import Manifest
from steps.data.feature_frames import in_seconds, typed_frame
from steps.data.reference import Reference
from steps.evaluation.metrics import Floats
from steps.monitoring.metric_names import metric_names
from steps.monitoring.psi import Bins, QuantileBins, bins_of, psi
from steps.monitoring.window import MAX_PERIODS, Window, periods_of
from steps.plots.style import LOWEST_SCORE
from steps.runtime.memory import release_freed_memory

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

# With half as many rows, chance alone may make a PSI of 0.2.
MIN_ROWS = 200
SCORE = "score (log-odds)"


@dataclass(frozen=True)
class Drift:
    """Distance of a window from the reference sample.

    Attributes:
        psi: PSI of each feature, descending; missing values are a bin of their own.
        score_psi: PSI of the scores as log-odds; None if too few are the champion's own.
        missing: share of missing values in each feature.
        out_of_range: share of values outside the range of the training rows, by number and date.
        unseen: share of predictions with a level that the champion was not fitted on, by category.
        unseen_rows: share of predictions with such a level in any category.
        periods: PSI of each feature (rows) in each period (columns, named by the time of the
            first prediction, not necessarily unique); periods have equally many predictions.
        psi_limit: PSI above which a feature or the score has drifted.
        share_limit: smallest share of drifted features that counts as drift of the window.
        report: Evidently's report.
    """

    psi: "pd.Series[float]"
    score_psi: float | None
    missing: "pd.Series[float]"
    out_of_range: "pd.Series[float]"
    unseen: "pd.Series[float]"
    unseen_rows: float
    periods: pd.DataFrame
    psi_limit: float
    share_limit: float
    report: "Snapshot"

    @property
    def drifted_features(self) -> list[str]:
        """Features with a PSI above the limit, in descending order of PSI."""
        return list(self.psi[self.psi > self.psi_limit].index)

    @property
    def drifted_share(self) -> float:
        """Share of drifted features."""
        return len(self.drifted_features) / len(self.psi)

    @property
    def detected(self) -> bool:
        """True if enough features have drifted, or the score has."""
        return self.drifted_share >= self.share_limit or (self.score_psi or 0.0) > self.psi_limit

    @property
    def unusual_shares(self) -> pd.DataFrame:
        """Shares of unusual values of each feature, NaN where its kind has none."""
        kinds = {"missing": self.missing, "out of range": self.out_of_range, "unseen": self.unseen}
        return pd.DataFrame(kinds, index=self.psi.index)

    @property
    def metrics(self) -> dict[str, float]:
        """MLflow metrics, by name."""
        metrics = {
            "drift_share": self.drifted_share,
            "drifted_features": float(len(self.drifted_features)),
            "psi_largest": float(self.psi.iloc[0]),
            "missing_share": float(self.missing.mean()),
        }
        if self.score_psi is not None:
            metrics["psi_score"] = self.score_psi
        if len(self.out_of_range):
            metrics["out_of_range_share"] = float(self.out_of_range.mean())
        if len(self.unseen):
            metrics["unseen_share"] = self.unseen_rows
        names = metric_names(list(self.psi.index))
        for kind in ("psi", "missing", "out_of_range", "unseen"):
            values = getattr(self, kind)
            metrics |= {f"{kind}.{names[name]}": float(values[name]) for name in values.index}
        return metrics

    def __str__(self) -> str:
        largest = ", ".join(f"{name} {self.psi[name]:.2f}" for name in self.drifted_features[:3])
        counts = f"{len(self.drifted_features)} of {len(self.psi)} features"
        text = f"{counts} have a PSI above {self.psi_limit:g}" + (
            f" ({largest})" if largest else ""
        )
        text += f"; share {self.drifted_share:.2f}, limit {self.share_limit:g}"
        if self.score_psi is None:
            text += "; score PSI unknown: too few predictions of this version"
        else:
            text += f"; score PSI {self.score_psi:.2f}"
        return text + self._unseen_text

    @property
    def _unseen_text(self) -> str:
        if not self.unseen_rows:
            return ""
        most = self.unseen[self.unseen > 0].sort_values(ascending=False, kind="stable")[:3]
        shares = ", ".join(f"{name} {share:.2%}" for name, share in most.items())
        return f"; {self.unseen_rows:.2%} of the predictions have an unseen level ({shares})"

    def write_report(self, file: Path) -> None:
        """Write Evidently's report as a self-contained HTML page."""
        self.report.save_html(str(file))


def measure_drift(
    window: Window,
    reference: Reference,
    manifest: Manifest,
    psi_limit: float,
    share_limit: float,
) -> Drift | str:
    """Compare a window with the reference sample.

    Args:
        window: predictions of the model, of all versions.
        reference: sample stored with the champion; its scores are compared with the champion's
            own scores only.
        manifest: manifest of the champion's scorer, with the range of each feature.
        psi_limit: PSI above which a feature or the score has drifted.
        share_limit: smallest share of drifted features that counts as drift of the window.

    Returns:
        The drift, or the reason why it cannot be measured.
    """
    features = window.features
    if len(features) < MIN_ROWS:
        reason = f"{len(features)} predictions with all features; at least {MIN_ROWS} are required"
        if len(features) * window.sampling_step < MIN_ROWS:
            return reason
        return f"in a sample of one in {window.sampling_step}, {reason}: choose a shorter window"
    reference_rows = typed_frame(reference.rows, manifest.features)
    seen = {encoding.feature: encoding.levels for encoding in manifest.encodings}
    bins = {
        feature.name: bins_of(feature, reference_rows[feature.name], seen.get(feature.name, ()))
        for feature in manifest.features
    }
    # Before the report, so that Evidently can reuse the freed memory.
    scores = window.champion_scores
    own_score_psi = score_psi(scores, reference) if len(scores) >= MIN_ROWS else None
    report = _evidently_report(features, reference_rows, bins, psi_limit, share_limit)
    unseen = _unseen(features, manifest)
    return Drift(
        psi=_psi_by_feature(report),
        score_psi=own_score_psi,
        missing=features.isna().mean(),
        out_of_range=_out_of_range(features, manifest),
        unseen=unseen.mean(),
        unseen_rows=float(unseen.any(axis=1).mean()),
        periods=_psi_by_period(features, window.rows["created_at"], reference_rows, bins),
        psi_limit=psi_limit,
        share_limit=share_limit,
        report=report,
    )


def _evidently_report(
    features: pd.DataFrame,
    reference: pd.DataFrame,
    bins: dict[str, Bins],
    psi_limit: float,
    share_limit: float,
) -> "Snapshot":
    """Run Evidently on the bins of the features."""
    release_freed_memory()
    # Imported when needed: it takes 0.1 GB, which other work has freed by then.
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import DriftedColumnsCount, ValueDrift

    definition = DataDefinition(categorical_columns=list(bins))

    def binned(frame: pd.DataFrame) -> Dataset:
        columns = {name: bins[name].names(frame[name]) for name in bins}
        # Evidently copies the frame.
        return Dataset.from_pandas(pd.DataFrame(columns, copy=False), data_definition=definition)

    report = Report(
        [
            DriftedColumnsCount(drift_share=share_limit, method="psi", threshold=psi_limit),
            *(ValueDrift(column=name, method="psi", threshold=psi_limit) for name in bins),
        ]
    )
    return report.run(binned(features), binned(reference))


def _psi_by_feature(report: "Snapshot") -> "pd.Series[float]":
    values = {
        metric["config"]["column"]: float(metric["value"])
        for metric in report.dict()["metrics"]
        if "column" in metric["config"]
    }
    return pd.Series(values).sort_values(ascending=False, kind="stable")


def as_log_odds(scores: Floats) -> "pd.Series[float]":
    """Return scores as log-odds, which spread the many scores near 0."""
    return pd.Series(logit(np.clip(scores, LOWEST_SCORE, 1 - LOWEST_SCORE)), name=SCORE)


def score_psi(scores: Floats, reference: Reference) -> float:
    """Return the PSI of the champion's scores relative to its scores of the test rows."""
    expected = as_log_odds(reference.scores)
    return psi(expected, as_log_odds(scores), QuantileBins.of(expected))


def _out_of_range(frame: pd.DataFrame, manifest: Manifest) -> "pd.Series[float]":
    """Return the shares for the features whose range in the training rows is known.

    It is not for dates of champions of earlier releases.
    """
    columns = manifest.reference.get("columns", {})
    shares = {}
    for feature in manifest.features:
        if feature.name not in columns:
            continue
        low, *_, high = columns[feature.name]["quantiles"]
        values = frame[feature.name]
        values = in_seconds(values) if feature.kind == "date" else values
        shares[feature.name] = ((values < low) | (values > high)).mean()
    return pd.Series(shares, dtype=np.float64)


def _unseen(frame: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """Return which categories have a level that the champion was not fitted on, by row."""
    kinds = {feature.name: feature.kind for feature in manifest.features}
    columns = {
        encoding.feature: _in_levels(encoding.is_unseen, frame[encoding.feature])
        for encoding in manifest.encodings
        if kinds[encoding.feature] == "category"
    }
    return pd.DataFrame(columns, index=frame.index, dtype=bool)


def _in_levels(matches: Callable[[str], bool], values: "pd.Series[Any]") -> npt.NDArray[np.bool_]:
    """Return which values of a category are levels that match."""
    # A code of -1, a missing value, takes the last place.
    return np.array([*map(matches, values.cat.categories), False])[values.cat.codes.to_numpy()]


def _psi_by_period(
    features: pd.DataFrame,
    times: "pd.Series[Any]",
    reference: pd.DataFrame,
    bins: dict[str, Bins],
) -> pd.DataFrame:
    count = int(np.clip(len(features) // MIN_ROWS, 1, MAX_PERIODS))
    periods = periods_of(features, count)
    values = [
        {name: psi(reference[name], period[name], bins[name]) for name in bins}
        for period in periods
    ]
    return pd.DataFrame(values, index=[times[period.index[0]] for period in periods]).T
