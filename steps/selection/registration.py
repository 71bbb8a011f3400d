"""Registration of a challenger: as champion if it was promoted, else under `challenger`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from serving.model.explanations import reference_row_count
from serving.model.manifest import Manifest
from serving.model.mlflow_model import is_absent
from serving.model.schema import FeatureSchema
from steps.candidates.queries import importance_of
from steps.data.fingerprints import RowFingerprints
from steps.data.logged_splits import LoggedSplits
from steps.data.origin import MONITORING_RUN, origin_of
from steps.data.reference import Reference
from steps.data.splits import Split
from steps.evaluation.metrics import Floats
from steps.registry.anchor import ANCHOR, SELF
from steps.registry.challengers import challenger_with_model, register_as_challenger
from steps.registry.champion_changes import register_champion
from steps.registry.champion_model import log_champion_model
from steps.registry.model_card import as_description, model_card, model_card_page
from steps.selection.holdout_test import Challenger
from steps.selection.incumbent import Incumbent
from steps.selection.promotion import Decision


def register_promoted(
    challenger: Challenger,
    fingerprints: RowFingerprints,
    splits: LoggedSplits,
    decision: Decision,
    model_name: str,
    incumbent: Incumbent | None,
    pictures: dict[str, bytes],
) -> str:
    """Register a challenger, with its model card and MLflow model, as the champion.

    Args:
        challenger: The challenger.
        fingerprints: The rows that it was fitted and selected on.
        splits: The splits that it comes from.
        decision: The decision to promote it.
        model_name: The registered model.
        incumbent: The champion that it was compared with; None if there was none.
        pictures: Plots of all candidates, as PNG by file name.

    Returns:
        The new version.

    Raises:
        RegistryError: The champion has changed since the comparison.
    """
    model_uri, description = _log_model(challenger, fingerprints, splits, decision, pictures)
    tags = _version_tags(challenger, splits, decision.reason)
    compared_with = incumbent.version if incumbent else None
    tags[ANCHOR] = incumbent.anchor if incumbent and not decision.becomes_anchor else SELF
    return register_champion(model_uri, model_name, tags, description, compared_with)


def register_unpromoted(
    challenger: Challenger,
    fingerprints: RowFingerprints,
    splits: LoggedSplits,
    decision: Decision,
    model_name: str,
    pictures: dict[str, bytes],
) -> str:
    """Register a challenger that was not promoted under the alias `challenger`.

    Args:
        challenger: The challenger.
        fingerprints: The rows that it was fitted and selected on.
        splits: The splits that it comes from.
        decision: The decision not to promote it.
        model_name: The registered model.
        pictures: Plots of all candidates, as PNG by file name.

    Returns:
        Its version, which is an earlier one if the same model is the challenger already.
    """
    if present := challenger_with_model(model_name, challenger.lineage.model_run_id):
        return present
    model_uri, description = _log_model(challenger, fingerprints, splits, decision, pictures)
    tags = _version_tags(challenger, splits, decision.reason)
    return register_as_challenger(model_uri, model_name, tags, description)


def _log_model(
    challenger: Challenger,
    fingerprints: RowFingerprints,
    splits: LoggedSplits,
    decision: Decision,
    pictures: dict[str, bytes],
) -> tuple[str, str]:
    """Log the model card and the MLflow model; return the model's URI and its description."""
    description = _log_model_card(challenger, splits, decision, pictures)
    refitted = challenger.lineage.was_refitted
    fitted_on = splits.training_and_validation if refitted else splits.training
    write_example(challenger.scorer, _example_rows(splits.test, challenger.scores))
    reference = Reference.of(fitted_on, challenger.scores)
    write_reference_rows(challenger.scorer, reference.rows)
    return log_champion_model(challenger.scorer, fingerprints, reference), description


def write_example(scorer: Path, rows: pd.DataFrame) -> None:
    """Store rows as callers send them, with ids, in the manifest of a portable scorer."""
    manifest = Manifest.read(scorer)
    ids = {manifest.id_column: [f"example-{number}" for number in range(len(rows))]}
    replace(manifest, example=_as_sent(manifest, rows) | ids).write(scorer)


def write_reference_rows(scorer: Path, rows: pd.DataFrame) -> None:
    """Store the first of random rows in the manifest of a portable scorer, for explanations."""
    manifest = Manifest.read(scorer)
    first = rows.head(reference_row_count(len(manifest.features)))
    replace(manifest, reference_rows=_as_sent(manifest, first)).write(scorer)


def _as_sent(manifest: Manifest, rows: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the values of each feature as callers send them."""
    columns = FeatureSchema(manifest.features).parse_frame(rows).logged_columns()
    return {
        feature.name: values for feature, values in zip(manifest.features, columns, strict=True)
    }


def _log_model_card(
    challenger: Challenger, splits: LoggedSplits, decision: Decision, pictures: dict[str, bytes]
) -> str:
    """Log the model card to the active run, as Markdown and as a page with all pictures.

    Returns:
        The card as the description of a version.
    """
    outcome = "Promoted because" if decision.promoted else "Not promoted by its selection:"
    card = model_card(
        challenger.lineage,
        challenger.manifest,
        challenger.metrics,
        challenger.intervals,
        splits.description,
        f"{outcome} {decision.reason}",
        challenger.warning,
        importance_of(challenger.lineage.candidate_run_id),
    )
    mlflow.log_text(card, "model_card.md")
    page = model_card_page(card, pictures | challenger.pictures)
    mlflow.log_text(page, "model_card.html")
    return as_description(card)


def _version_tags(challenger: Challenger, splits: LoggedSplits, reason: str) -> dict[str, str]:
    tags = asdict(challenger.lineage) | challenger.verdict_tags
    tags |= {
        "decision": reason,
        "test_uses": str(challenger.test_uses),
    }
    return tags | _monitoring_tag(splits.run_id)


def _monitoring_tag(data_run_id: str) -> dict[str, str]:
    """Return the tag of the monitoring run that requested a retraining, if it still exists."""
    try:
        origin = origin_of(data_run_id)
    except MlflowException as error:
        if is_absent(error):
            return {}
        raise
    return {MONITORING_RUN: origin[MONITORING_RUN]} if MONITORING_RUN in origin else {}


def _example_rows(test: Split, scores: Floats) -> pd.DataFrame:
    """Return the features of two test rows: those with the highest and the lowest score."""
    return test.take(np.array([scores.argmax(), scores.argmin()]))[test.features]
