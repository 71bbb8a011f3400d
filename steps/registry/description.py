"""The description of a registered model: what it predicts, and the history of its versions."""

import hashlib
from datetime import UTC, datetime

import mlflow
from mlflow.entities.model_registry import ModelVersion

from steps.data.logged_splits import open_splits
from steps.registry.history import champion_history
from steps.registry.markdown import MAX_DESCRIPTION, as_plain_text
from steps.registry.versions import find_champion
from steps.runtime.errors import ParameterError
from steps.runtime.mlflow_pages import find_run, run_link, version_link

# Tag of the registered model: the digests of the descriptions that we wrote last.
DIGEST = "description_digest"
SHOWN_ROWS, SHOWN_REASON = 15, 160


def update_description(model_name: str) -> None:
    """Describe a registered model, unless somebody has changed its description."""
    client = mlflow.MlflowClient()
    if (champion := find_champion(model_name)) is None:
        return
    model = client.get_registered_model(model_name)
    before = [_digest(model.description)] if model.description else []
    if before and before[0] not in model.tags.get(DIGEST, "").split():
        return
    text = describe_model(champion)
    # Both digests: a process that is killed here leaves the former description.
    client.set_registered_model_tag(model_name, DIGEST, " ".join([*before, _digest(text)]))
    client.update_registered_model(model_name, text)


def describe_model(champion: ModelVersion) -> str:
    """Return the description of the model whose champion this is, in Markdown."""
    name, tags = champion.name, champion.tags
    champion_link = f"[version {champion.version}]({version_link(name, champion.version)})"
    algorithm = as_plain_text(f"{tags.get('algorithm', '')} ({tags.get('engine', '')})")
    chosen = (
        f"The champion is the best of all candidates by {tags.get('metric', 'the metric')} on "
        "validation rows, refitted if possible, and promoted if it passes the comparison with its "
        "predecessor on rows that neither has seen."
    )
    links = [
        f"[{title}]({run_link(run)})"
        for title, tag in (("data", "data_run_id"), ("selection", "selection_run_id"))
        if (run := find_run(tags.get(tag)))
    ]
    paragraphs = [
        _purpose(tags.get("data_run_id")),
        f"Champion: {champion_link}, {algorithm}. {chosen}",
        f"Runs of the champion: {', '.join(links)}." if links else "",
        "| since | version | test KS | why |\n|---|---|---|---|",
    ]
    text = "\n\n".join(filter(None, paragraphs))
    for row in _history(name):
        if len(text) + 1 + len(row) > MAX_DESCRIPTION:
            break
        text += f"\n{row}"
    return text[:MAX_DESCRIPTION]


def _purpose(data_run_id: str | None) -> str:
    """Return what the model predicts and from which data; nothing if the data were deleted."""
    if find_run(data_run_id) is None:
        return ""
    try:
        with open_splits(str(data_run_id)) as splits:
            data = splits.description
    except ParameterError:  # its artifacts were deleted
        return ""
    negative, positive = map(as_plain_text, data.classes)
    return (
        f"Predicts the probability that **{as_plain_text(data.target)}** is **{positive}** (class "
        f"1), not {negative}. Data: {as_plain_text(data.source)}, "
        f"{sum(data.rows.values()):,} rows with {sum(data.positives.values()):,} positives, "
        f"{data.split} split."
    )


def _history(name: str) -> list[str]:
    """Return a row for each change of champion and each version without one, the newest first."""
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    versions = {str(version.version): version for version in found}
    changes = [(change.since, change.version, change.reason) for change in champion_history(name)]
    promoted = {version for _, version, _ in changes}
    for number, version in versions.items():
        if number not in promoted:
            created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
            reason = f"not promoted: {version.tags.get('decision', 'registered by hand')}"
            changes.append((created.isoformat(timespec="seconds"), number, reason))
    shown = sorted(changes, reverse=True)[:SHOWN_ROWS]
    return [_row(name, versions.get(change[1]), *change) for change in shown]


def _row(name: str, version: ModelVersion | None, since: str, number: str, reason: str) -> str:
    run = find_run(version.run_id) if version else None
    ks = f"{run.data.metrics['test_ks']:.4f}" if run and "test_ks" in run.data.metrics else ""
    place = f"[{number}]({version_link(name, number)})" if version else f"{number} (deleted)"
    short = reason if len(reason) <= SHOWN_REASON else f"{reason[: SHOWN_REASON - 1]}…"
    return f"| {since[:16].replace('T', ' ')} | {place} | {ks} | {as_plain_text(short)} |"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
