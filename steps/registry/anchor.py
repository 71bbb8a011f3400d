"""The anchor: the version that later champions must not fall behind.

It is the last version that was promoted as significantly better than the champion before, else
the first. Small steps that are each insignificant cannot add up to more than a margin.
"""

import mlflow
from mlflow.entities.model_registry import ModelVersion

from steps.registry.history import champion_history

# Tag of a version: the number of its anchor, or SELF.
ANCHOR = "anchor"
SELF = "self"
# Start of the reason for promoting a significantly better version, in releases without the tag.
SIGNIFICANT_REASON = "it is significantly better"


def find_anchor(model_name: str, version: str) -> str:
    """Return the number of the anchor of a version of `model_name`."""
    return anchor_of(mlflow.MlflowClient().get_model_version(model_name, version))


def anchor_of(version: ModelVersion) -> str:
    """Return the number of a version's anchor, which may be the version itself.

    For versions of earlier releases, which have no tag, it follows from the reasons in the
    history of champions.
    """
    number = str(version.version)
    if anchor := version.tags.get(ANCHOR):
        return number if anchor == SELF else str(anchor)
    promotions = {
        change.version: change
        for change in champion_history(version.name)
        if change.by == "select_champion"
    }
    while (change := promotions.pop(number, None)) and change.after in promotions:
        if change.reason.startswith(SIGNIFICANT_REASON):
            break
        number = change.after
    return number
