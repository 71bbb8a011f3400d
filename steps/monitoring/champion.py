"""The champion as monitoring sees it: what it came from, and what it met since."""

from dataclasses import dataclass, replace

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.registry import SCORER_IN_MODEL
from serving.scorer import Manifest
from steps.monitoring.drift import FEWEST_ROWS, Drift, measure_drift
from steps.monitoring.evidence import Evidence
from steps.monitoring.performance import Performance, measure_performance
from steps.monitoring.window import Window
from steps.pipeline.errors import RegistryError
from steps.pipeline.intervals import Interval
from steps.pipeline.reference import REFERENCE_IN_MODEL, Reference
from steps.pipeline.registry import downloaded, the_champion


@dataclass(frozen=True)
class Findings:
    """What a window showed; text says why something could not be measured."""

    window: Window
    drift: Drift | str
    performance: Performance | str

    @property
    def drifted(self) -> bool:
        """Whether drift was found."""
        return isinstance(self.drift, Drift) and self.drift.detected

    @property
    def degraded(self) -> bool:
        """Whether the champion was found to be worse than on its test rows."""
        return isinstance(self.performance, Performance) and self.performance.degraded

    @property
    def title(self) -> str:
        """The two verdicts in a few words."""
        drift = "drift unknown" if isinstance(self.drift, str) else "no drift"
        live = "performance unknown" if isinstance(self.performance, str) else "performance holds"
        drift = "DRIFT" if self.drifted else drift
        live = "PERFORMANCE DEGRADED" if self.degraded else live
        return f"{self.window.count:,} predictions: {drift}, {live}"

    def __str__(self) -> str:
        return f"{self.title}\n  drift: {self.drift}\n  performance: {self.performance}"


@dataclass(frozen=True)
class Champion:
    """The champion with what it brought along to be compared with, and the limits."""

    registered: ModelVersion
    manifest: Manifest
    reference: Reference
    test: tuple[float, Interval] | None
    psi_limit: float
    drift_share: float
    metric_floor: float | None

    @property
    def version(self) -> str:
        """Its number."""
        return str(self.registered.version)

    @property
    def run_id(self) -> str | None:
        """The run that made it, which its predictions name."""
        run_id: str | None = self.registered.run_id
        return run_id

    @property
    def features(self) -> list[str]:
        """The names of its features."""
        return [feature.name for feature in self.manifest.features]

    @property
    def metric(self) -> str:
        """The metric that made it champion."""
        return str(self.registered.tags["metric"])

    def assess(self, window: Window) -> Findings:
        """Measure drift, and the champion on those of its predictions whose outcome is known."""
        if window.rows.empty and window.labelled.empty:
            empty = "the window holds no predictions of this model"
            return Findings(window, empty, empty)
        floor = self.metric_floor
        if floor is None and self.test:
            floor = self.test[1].low
        own = window.labelled[window.labelled["own"]]
        share = window.rows["own"].sum() / max(len(window.rows), 1)
        return Findings(
            window,
            measure_drift(window, self.reference, self.manifest, self.psi_limit, self.drift_share),
            measure_performance(own, round(share * window.count), self.metric, floor),
        )

    def since(self, evidence: Evidence, window: Window, labelled: dict[str, int]) -> Findings:
        """Assess what is new since a retraining; drift now means from what led to that.

        The world that it was trained again for differs for long from the training rows, of which
        most are older.

        Args:
            evidence: of that retraining.
            window: what was looked at.
            labelled: the labels recorded since then, by the id of their prediction.
        """
        reference = self.reference
        if len(evidence.rows) >= FEWEST_ROWS:
            reference = replace(reference, rows=evidence.rows)
        fresh = window.since(evidence.until, labelled)
        return replace(self, reference=reference).assess(fresh)


def read_champion(
    model_name: str, psi_limit: float, drift_share: float, metric_floor: float | None
) -> Champion:
    """Return the champion of `model_name`.

    Raises:
        RegistryError: there is none, or it brought no reference along.
    """
    version = the_champion(model_name)
    with downloaded(model_name, str(version.version)) as model:
        manifest = Manifest.read(model / SCORER_IN_MODEL)
        reference = Reference.read(model / REFERENCE_IN_MODEL)
    if reference is None:
        raise RegistryError(
            f"version {version.version} of {model_name} was made before references were kept: "
            "train again with `mlflow run . -P cache=false -P promotion=always`"
        )
    test = on_test_rows(version)
    return Champion(version, manifest, reference, test, psi_limit, drift_share, metric_floor)


def on_test_rows(version: ModelVersion) -> tuple[float, Interval] | None:
    """Return the champion metric on the test rows; None if the run of its selection is gone."""
    try:
        metrics = mlflow.get_run(version.tags["selection_run_id"]).data.metrics
    except MlflowException:
        return None
    name = f"test_{version.tags['metric']}"
    return metrics[name], Interval(metrics[f"{name}_low"], metrics[f"{name}_high"])
