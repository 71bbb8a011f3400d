"""The champion's threshold, chosen by a rule on validation scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from serving.model.manifest import Manifest
from serving.model.scorer import PortableScorer
from steps.candidates.queries import download_scorer, validation_scores
from steps.data.splits import Split
from steps.evaluation.metrics import Floats, Labels
from steps.evaluation.operating_points import OperatingPoints
from steps.export.scoring import scores_of
from steps.runtime.errors import ParameterError
from steps.runtime.threshold_rule import ThresholdRule


def threshold_of(rule: ThresholdRule, candidate_run_id: str, validation: Split) -> float:
    """Return the threshold that `rule` chooses on a candidate's validation scores.

    The scores are those of its export, before any refit: a refitted model has been trained on
    the validation rows. Those of an ensemble are cross-fitted.

    Raises:
        ParameterError: no threshold fulfils the rule.
    """
    with download_scorer(candidate_run_id) as folder:
        manifest = Manifest.read(folder)
        if rule.name == "ks":
            return manifest.threshold
        if manifest.members:  # their weights were selected on these rows
            scores = validation_scores(candidate_run_id)
        else:
            scores = scores_of(PortableScorer.load(folder), validation)
    return choose_threshold(rule, validation.y, scores)


def choose_threshold(rule: ThresholdRule, y: Labels, scores: Floats) -> float:
    """Return the threshold that a rule other than `ks` chooses, always one of `scores`.

    `cost` minimises missed positives and false alarms, weighted by their costs; `alerts` labels as
    many rows 1 as the share allows; `precision` and `recall` reach their value with the highest
    recall and the fewest alerts, respectively. Of equal thresholds, the highest is chosen.

    Args:
        rule: the rule.
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_rows,).

    Raises:
        ParameterError: no threshold fulfils the rule.
    """
    points = OperatingPoints.of(y, scores)
    if rule.name == "cost":
        return _cheapest(points, rule)
    (wanted,) = rule.values
    if rule.name == "alerts":
        reached, preferred = points.alert_rate <= wanted, points.alerts
        possible = f"at least {points.alert_rate.min():.3%}"
    else:
        values = {"precision": points.precision, "recall": points.recall}[rule.name]
        reached = values >= wanted
        preferred = {"precision": points.recall, "recall": -points.alerts}[rule.name]
        possible = f"at most {values.max():.4g}"
    places = np.flatnonzero(reached)
    if not len(places):
        raise ParameterError(
            f"threshold: {rule} cannot be reached on the validation rows; {possible} is possible"
        )
    return float(points.thresholds[places[np.argmax(preferred[places])]])


def _cheapest(points: OperatingPoints, rule: ThresholdRule) -> float:
    miss, alarm = rule.values
    costs = points.cost(miss, alarm)
    lowest, without_alerts = costs.min(), miss * points.positives / points.rows
    if without_alerts < lowest:
        raise ParameterError(
            f"threshold: {rule} is cheapest on the validation rows without any alert: "
            f"{without_alerts:.4g} per row, and at least {lowest:.4g} with alerts"
        )
    return float(points.thresholds[np.argmin(costs)])


def write_threshold(scorer: Path, threshold: float, rule: ThresholdRule) -> None:
    """Store a threshold and its rule in the manifest of the portable scorer in `scorer`."""
    manifest = replace(Manifest.read(scorer), threshold=threshold, threshold_rule=str(rule))
    manifest.write(scorer)
