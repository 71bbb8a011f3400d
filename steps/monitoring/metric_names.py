"""Names of features as MLflow accepts them in names of metrics."""

import posixpath
import re

# MLflow refuses other characters, such as those of `Monthly Charges ($)`, and more than 250.
REFUSED = re.compile(r"[^\w./ :-]")
MAX_CHARACTERS = 200


def metric_names(features: list[str]) -> dict[str, str]:
    """Return a distinct name for each feature; its own unless MLflow refuses it."""
    names: dict[str, str] = {}
    taken = {feature for feature in features if _accepted(feature) == feature}
    for feature in features:
        name = base = _accepted(feature)
        number = 2
        while name != feature and name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        names[feature] = name
    return names


def _accepted(name: str) -> str:
    accepted = REFUSED.sub("_", name)[:MAX_CHARACTERS]
    # MLflow takes slashes for folders.
    is_path = posixpath.normpath(f".{accepted}") == f".{accepted}"
    return accepted if is_path else accepted.replace("/", "_")
