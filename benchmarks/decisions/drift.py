"""False alarm rates of drift detection on stable traffic, with the default limits.

Windows are drawn as counts by bin, which takes seconds instead of hours. `psi_of_rows` computes the
PSI of drawn rows, as `monitor` does, to compare.
"""

import numpy as np
import pandas as pd

from steps.monitoring.psi import LEVEL_BIN_SHARE, LevelBins, QuantileBins
from steps.monitoring.psi import psi as psi_of_samples
from steps.runtime.mlproject import entry_points

ROWS = (200, 1_000, 10_000)
REFERENCE_ROWS, BINS = 10_000, 10
FEATURES = (5, 30)


def psi(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Return the PSI of counts by bin, along the last axis, as Evidently computes it."""
    shares = [counts / counts.sum(axis=-1, keepdims=True) for counts in (reference, current)]
    first, second = (np.where(share == 0, 1e-4, share) for share in shares)
    return ((second - first) * np.log(second / first)).sum(axis=-1)


def rates(rows: int, windows: int, seed: int = 1) -> dict[str, float]:
    """Return the mean and largest PSI of stable values and the shares of windows with an alarm.

    Args:
        rows: number of predictions in a window.
        windows: number of simulated windows.
        seed: of the source of randomness.
    """
    monitor = entry_points()["monitor"]["parameters"]
    limit, share = (float(monitor[name]["default"]) for name in ("psi_limit", "drift_share"))
    random = np.random.default_rng(seed)
    # The bins are the deciles of the reference: its counts are equal.
    reference = np.full(BINS, REFERENCE_ROWS / BINS)
    true_shares = random.dirichlet(reference, size=(windows, max(FEATURES) + 1))
    current = random.multinomial(rows, true_shares)
    found = psi(np.broadcast_to(reference, current.shape), current)
    score, features = found[:, 0], found[:, 1:]
    result = {"mean PSI": found.mean(), "99.9 % quantile of PSI": np.quantile(found, 0.999)}
    result["score above the limit"] = (score > limit).mean()
    for count in FEATURES:
        drifted = (features[:, :count] > limit).mean(axis=1) >= share
        result[f"drift, {count} features"] = (drifted | (score > limit)).mean()
    return result


def psi_of_rows(rows: int, samples: int, seed: int = 1) -> dict[str, float]:
    """Return the mean and a high quantile of the PSI of drawn rows of a stable feature."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        reference, current = (pd.Series(random.standard_normal(n)) for n in (REFERENCE_ROWS, rows))
        found.append(psi_of_samples(reference, current, QuantileBins.of(reference)))
    return {
        "mean PSI, of rows": float(np.mean(found)),
        "99.9 % quantile of PSI, of rows": float(np.quantile(found, 0.999)),
    }


def rates_of_levels(
    shares: np.ndarray, rows: int, bin_share: float, windows: int, seed: int = 1
) -> float:
    """Return the share of windows in which a stable category has a PSI above the limit.

    Args:
        shares: true shares of the levels, shape (n_levels,).
        rows: number of predictions in a window.
        bin_share: see `LevelBins.of`; 0 for a bin for each level.
        windows: number of simulated windows; a reference is drawn for each hundred of them.
        seed: of the source of randomness.
    """
    random = np.random.default_rng(seed)
    limit = float(entry_points()["monitor"]["parameters"]["psi_limit"]["default"])
    levels = [str(number) for number in range(len(shares))]
    above = []
    for _ in range(windows // 100):
        codes = random.choice(len(shares), REFERENCE_ROWS, p=shares)
        reference = pd.Series(pd.Categorical.from_codes(codes, levels))
        bins = LevelBins.of(reference, levels, bin_share)
        place = np.array([bins.bin_of[level] for level in levels])
        expected = np.bincount(place[codes], minlength=place.max() + 1)
        true_shares = np.bincount(place, shares, place.max() + 1)
        found = psi(expected, random.multinomial(rows, true_shares, size=100))
        above.append((found > limit).mean())
    return float(np.mean(above))


def table_of_levels(windows: int = 10_000) -> pd.DataFrame:
    """Return the rates of categories with bins as in `monitor`, and with a bin for each level."""
    zipf = {count: 1 / np.arange(1, count + 1) for count in (25, 200)}
    populations = {f"Zipf, {count}": weights / weights.sum() for count, weights in zipf.items()}
    populations["equal, 100"] = np.full(100, 0.01)
    return pd.DataFrame(
        {
            (name, bin_share): {
                rows: rates_of_levels(shares, rows, bin_share, windows) for rows in ROWS
            }
            for name, shares in populations.items()
            for bin_share in (LEVEL_BIN_SHARE, 0.0)
        }
    ).T


def table(windows: int = 10_000, samples: int = 5_000) -> pd.DataFrame:
    """Return the rates by the number of predictions in a window."""
    return pd.DataFrame({rows: rates(rows, windows) | psi_of_rows(rows, samples) for rows in ROWS})
