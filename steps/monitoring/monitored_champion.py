"""The champion with the data and limits that its live predictions are compared with."""

import shlex
from dataclasses import dataclass, replace

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.errors import InputError
from serving.model.manifest import Manifest
from serving.model.mlflow_model import SCORER_IN_MODEL
from serving.model.scorer import PortableScorer
from steps.data.feature_frames import typed_frame
from steps.data.reference import REFERENCE_IN_MODEL, Reference
from steps.evaluation.intervals import Interval
from steps.evaluation.metrics import Floats
from steps.monitoring.degradation import floor_of
from steps.monitoring.drift import MIN_ROWS, measure_drift
from steps.monitoring.findings import Findings
from steps.monitoring.label_coverage import describe_coverage_bias
from steps.monitoring.performance import measure_performance
from steps.monitoring.retraining_triggers import RetrainingTrigger
from steps.monitoring.window import Window, rows_where
from steps.registry.versions import download_version, get_champion
from steps.runtime.errors import RegistryError


@dataclass(frozen=True)
class MonitoredChampion:
    """The champion and what its live predictions are compared with.

    Attributes:
        registered: the version in the registry.
        manifest: manifest of its scorer.
        reference: sample of the rows it was fitted on, and its scores of test rows.
        test_metric: champion metric on the test rows, with its interval; None if unavailable.
        psi_limit: PSI above which a feature or the score has drifted.
        drift_share: smallest share of drifted features that counts as drift of a window.
        metric_floor: live metric below which the champion is degraded; None for the one-sided 99 %
            lower bound of the metric on the test rows.
    """

    registered: ModelVersion
    manifest: Manifest
    reference: Reference
    test_metric: tuple[float, Interval] | None
    psi_limit: float
    drift_share: float
    metric_floor: float | None

    @property
    def version(self) -> str:
        """Number of the version."""
        return str(self.registered.version)

    @property
    def run_id(self) -> str | None:
        """Run that logged the model; logged predictions refer to it."""
        run_id: str | None = self.registered.run_id
        return run_id

    @property
    def metric(self) -> str:
        """Name of the champion metric."""
        return str(self.registered.tags["metric"])

    def assess(self, window: Window) -> Findings:
        """Measure drift of all predictions and the performance of the champion's own."""
        if window.rows.empty and window.labelled.empty:
            reason = "the window has no predictions of this model"
            return Findings(window, reason, reason)
        floor = self.metric_floor
        if floor is None and self.test_metric:
            floor = floor_of(*self.test_metric)
        own_labelled = rows_where(window.labelled, window.labelled["by_champion"])
        own_rows = rows_where(window.rows, window.rows["by_champion"])
        # Before drift, so that Evidently can reuse the freed memory.
        performance = measure_performance(
            own_labelled, len(own_rows), self.metric, floor, describe_coverage_bias(own_rows)
        )
        drift = measure_drift(
            window, self.reference, self.manifest, self.psi_limit, self.drift_share
        )
        return Findings(window, drift, performance)

    def assess_since(self, trigger: RetrainingTrigger, window: Window) -> Findings:
        """Assess what is new since a retraining, with drift relative to its trigger.

        Most training rows are older than the change that triggered the retraining, so traffic
        keeps its distance from them for a long time.

        Args:
            trigger: trigger of the last retraining.
            window: the whole window.
        """
        new = window.newer_than(trigger.until)
        return replace(self, reference=self._reference_at(trigger)).assess(new)

    def _reference_at(self, trigger: RetrainingTrigger) -> Reference:
        """Return the rows of a trigger with the champion's scores of them, if it can read them.

        The champion before may have had other features, or allowed other values to be missing:
        rows that lack a value which this one requires have no score.
        """
        rows = trigger.features
        if len(rows) < MIN_ROWS:
            return self.reference
        try:
            typed = typed_frame(rows, self.manifest.features)
        except InputError:
            return self.reference
        required = [feature.name for feature in self.manifest.features if not feature.nullable]
        complete = rows[typed[required].notna().all(axis=1)]
        if len(complete) < MIN_ROWS:
            return replace(self.reference, rows=rows)
        return Reference(rows, self._scores_of(complete))

    def _scores_of(self, rows: pd.DataFrame) -> Floats:
        """Return the champion's scores of rows, shape (n_rows,)."""
        with download_version(self.registered.name, self.version) as model:
            return PortableScorer.load(model / SCORER_IN_MODEL).score(rows)


def read_champion(
    model_name: str, psi_limit: float, drift_share: float, metric_floor: float | None
) -> MonitoredChampion:
    """Download what monitoring needs of the champion of `model_name`.

    Raises:
        RegistryError: there is no champion, or it was stored without reference data.
    """
    version = get_champion(model_name)
    with download_version(model_name, str(version.version)) as model:
        manifest = Manifest.read(model / SCORER_IN_MODEL)
        reference = Reference.read(model / REFERENCE_IN_MODEL)
    if reference is None:
        raise RegistryError(
            f"version {version.version} of {model_name} was stored without reference data for "
            "monitoring: train again with "
            f"`mlflow run . -P model_name={shlex.quote(model_name)} -P cache=false "
            "-P promotion=always`"
        )
    return MonitoredChampion(
        version, manifest, reference, _test_metric(version), psi_limit, drift_share, metric_floor
    )


def _test_metric(version: ModelVersion) -> tuple[float, Interval] | None:
    """Return the champion metric on the test rows; None if the selection's run was deleted."""
    try:
        metrics = mlflow.get_run(version.tags["selection_run_id"]).data.metrics
    except MlflowException:
        return None
    name = f"test_{version.tags['metric']}"
    return metrics[name], Interval(metrics[f"{name}_low"], metrics[f"{name}_high"])
