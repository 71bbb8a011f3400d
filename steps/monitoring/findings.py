"""Findings of a monitoring run: drift and live performance of a window."""

from dataclasses import dataclass

from steps.monitoring.drift import Drift
from steps.monitoring.performance import Performance
from steps.monitoring.window import Window


@dataclass(frozen=True)
class Findings:
    """Drift and performance of a window; text gives the reason why one could not be measured."""

    window: Window
    drift: Drift | str
    performance: Performance | str

    @property
    def drifted(self) -> bool:
        """True if drift was detected."""
        return isinstance(self.drift, Drift) and self.drift.detected

    @property
    def degraded(self) -> bool:
        """True if the champion performs worse than its floor."""
        return isinstance(self.performance, Performance) and self.performance.degraded

    @property
    def biased(self) -> bool:
        """True if labels cover scores unequally, which allows no verdict on performance."""
        return isinstance(self.performance, Performance) and bool(self.performance.coverage_bias)

    @property
    def title(self) -> str:
        """Both verdicts in a few words."""
        drift = "drift unknown" if isinstance(self.drift, str) else "no drift"
        drift = "DRIFT DETECTED" if self.drifted else drift
        live = "unknown" if isinstance(self.performance, str) else "not degraded"
        live = "biased by its labels" if self.biased else live
        live = "PERFORMANCE DEGRADED" if self.degraded else f"performance {live}"
        return f"{self.window.count:,} predictions: {drift}, {live}"

    @property
    def verdict_tags(self) -> dict[str, str]:
        """MLflow tags with both verdicts (`true`, `false`, `unknown`) and their reasons."""
        return {
            "drift_detected": _verdict(self.drift, self.drifted),
            "drift_reason": str(self.drift),
            "performance_degraded": (
                "unknown" if self.biased else _verdict(self.performance, self.degraded)
            ),
            "labels_biased": str(self.biased).lower(),
            "performance_reason": str(self.performance),
        }

    def __str__(self) -> str:
        return f"{self.title}\n  drift: {self.drift}\n  performance: {self.performance}"


def _verdict(measured: Drift | Performance | str, positive: bool) -> str:
    return "unknown" if isinstance(measured, str) else str(positive).lower()
