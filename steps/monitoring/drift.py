"""Whether the world has moved away from what the champion was trained on, with Evidently."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.report import Snapshot
from evidently.metrics import DriftedColumnsCount, ValueDrift
from scipy.special import logit

from serving.scorer import Manifest
from steps.monitoring.bins import Bins, psi
from steps.monitoring.window import MOST_PERIODS, Window
from steps.pipeline.evaluation import Floats
from steps.pipeline.plots import LOWEST
from steps.pipeline.reference import Reference

# Of half as many rows, chance alone makes a PSI of 0.2.
FEWEST_ROWS = 200
# Evidently takes 100,000 rows of 30 features in ten seconds; more would not tell more.
MOST_ROWS = 100_000
SCORE = "score (log-odds)"


@dataclass(frozen=True)
class Drift:
    """How far a window is from the reference.

    Attributes:
        psi: the population stability index of each feature, the largest first; missing values
            count as a value of their own.
        score_psi: that of the scores as log-odds; None if too few of them are the champion's.
        missing: share of missing values of each feature.
        out_of_range: share of values beyond the least and greatest of the training rows.
        periods: PSI of each feature (rows) in each part of the window (columns, named by the
            time of its first prediction, which several may share); the parts hold equally many
            predictions.
        limit: the PSI above which a feature counts as drifted.
        share_limit: the share of drifted features at which the whole counts as drifted.
        page: Evidently's report.
    """

    psi: "pd.Series[float]"
    score_psi: float | None
    missing: "pd.Series[float]"
    out_of_range: "pd.Series[float]"
    periods: pd.DataFrame
    limit: float
    share_limit: float
    page: Snapshot

    @property
    def drifted(self) -> list[str]:
        """The features above the limit, the worst first."""
        return list(self.psi[self.psi > self.limit].index)

    @property
    def share(self) -> float:
        """The share of features that drifted."""
        return len(self.drifted) / len(self.psi)

    @property
    def detected(self) -> bool:
        """Whether enough features drifted, or the scores did."""
        return self.share >= self.share_limit or (self.score_psi or 0.0) > self.limit

    @property
    def metrics(self) -> dict[str, float]:
        """What is logged, by name."""
        found = {
            "drift_share": self.share,
            "drifted_features": float(len(self.drifted)),
            "psi_largest": float(self.psi.iloc[0]),
            "missing_share": float(self.missing.mean()),
            "out_of_range_share": float(self.out_of_range.mean()),
        }
        if self.score_psi is not None:
            found["psi_score"] = self.score_psi
        for name in self.psi.index:
            found[f"psi.{name}"] = float(self.psi[name])
            found[f"missing.{name}"] = float(self.missing[name])
            found[f"out_of_range.{name}"] = float(self.out_of_range[name])
        return found

    def __str__(self) -> str:
        worst = ", ".join(f"{name} {self.psi[name]:.2f}" for name in self.drifted[:3])
        text = f"{len(self.drifted)} of {len(self.psi)} features have a PSI above {self.limit:g}"
        text += f" ({worst})" if worst else ""
        text += f", a share of {self.share:.2f} against the limit of {self.share_limit:g}"
        if self.score_psi is None:
            return f"{text}; the score has too few predictions of this version"
        return f"{text}; PSI of the score {self.score_psi:.2f}"

    def write_page(self, file: Path) -> None:
        """Write Evidently's report as a page that needs nothing from elsewhere."""
        self.page.save_html(str(file))


def measure_drift(
    window: Window,
    reference: Reference,
    manifest: Manifest,
    limit: float,
    share_limit: float,
) -> Drift | str:
    """Compare a window with the reference, or say why that cannot be.

    Args:
        window: the predictions of the model, of whatever version.
        reference: kept with the champion; only its own scores are compared with those there.
        manifest: of the champion's scorer.
        limit: PSI above which a feature, or the score, counts as drifted.
        share_limit: share of drifted features at which the window does.
    """
    rows = window.rows[window.rows["has_features"]]
    if len(rows) < FEWEST_ROWS:
        return f"{len(rows)} predictions with all features, fewer than {FEWEST_ROWS}"
    features = rows[window.features]
    page = _compare(features, reference.rows, limit, share_limit)
    found = {
        one["config"]["column"]: float(one["value"])
        for one in page.dict()["metrics"]
        if "column" in one["config"]
    }
    own = window.rows.loc[window.rows["own"], "score"]
    return Drift(
        psi=pd.Series(found).sort_values(ascending=False, kind="stable"),
        score_psi=score_psi(own.to_numpy(), reference) if len(own) >= FEWEST_ROWS else None,
        missing=features.isna().mean(),
        out_of_range=_out_of_range(features, manifest),
        periods=_periods(rows, reference, window.features),
        limit=limit,
        share_limit=share_limit,
        page=page,
    )


def _compare(
    features: pd.DataFrame, reference: pd.DataFrame, limit: float, share_limit: float
) -> Snapshot:
    """Return Evidently's report on some of the rows, in bins of the reference."""
    some = features.sample(min(len(features), MOST_ROWS), random_state=0)
    bins = {name: Bins.of(reference[name]) for name in features}
    columns = DataDefinition(categorical_columns=list(bins))
    now, then = (
        Dataset.from_pandas(
            pd.DataFrame({name: bins[name].names(frame[name]) for name in bins}),
            data_definition=columns,
        )
        for frame in (some, reference)
    )
    report = Report(
        [
            DriftedColumnsCount(drift_share=share_limit, method="psi", threshold=limit),
            *(ValueDrift(column=name, method="psi", threshold=limit) for name in bins),
        ]
    )
    return report.run(now, then)


def as_log_odds(scores: Floats) -> "pd.Series[float]":
    """Return scores on the axis on which they are compared: most lie near 0 otherwise."""
    return pd.Series(logit(np.clip(scores, LOWEST, 1 - LOWEST)), name=SCORE)


def score_psi(scores: Floats, reference: Reference) -> float:
    """Return the PSI of scores against the champion's own on its test rows."""
    return psi(as_log_odds(reference.scores), as_log_odds(scores))


def _out_of_range(frame: pd.DataFrame, manifest: Manifest) -> "pd.Series[float]":
    ends = {
        name: (column["quantiles"][0], column["quantiles"][-1])
        for name, column in manifest.reference["columns"].items()
    }
    beyond = {
        name: ((values < ends[name][0]) | (values > ends[name][1])).mean()
        for name, values in frame.items()
    }
    return pd.Series(beyond)


def _periods(rows: pd.DataFrame, reference: Reference, features: list[str]) -> pd.DataFrame:
    count = int(np.clip(len(rows) // FEWEST_ROWS, 1, MOST_PERIODS))
    edges = np.linspace(0, len(rows), count + 1).astype(int).tolist()
    periods = [rows.iloc[start:end] for start, end in pairwise(edges)]
    found = [{name: psi(reference.rows[name], rows[name]) for name in features} for rows in periods]
    return pd.DataFrame(found, index=[rows["created_at"].iloc[0] for rows in periods]).T
