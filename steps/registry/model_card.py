"""The model card of a champion: Markdown for the registry, and an HTML page with plots."""

from base64 import b64encode

import pandas as pd
from markdown_it import MarkdownIt

from serving.model.manifest import Manifest
from steps.data.splits import SplitsDescription
from steps.evaluation.intervals import Interval, bounds
from steps.evaluation.worth import describe_worth
from steps.registry.champion_model import Lineage
from steps.registry.markdown import MAX_DESCRIPTION, as_code, as_plain_text

MAX_IMPORTANT = 10
# The end of a description that does not hold the whole card.
CONTINUED = "\n\nThe whole card is the artifact `model_card.md` of the selection's run."
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; color: #222 }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: left }
th { border-bottom: 1px solid #999 } figure { margin: 2rem 0 } img { max-width: 100% }
"""


def model_card(
    lineage: Lineage,
    manifest: Manifest,
    test: dict[str, float],
    intervals: dict[str, Interval],
    data: SplitsDescription,
    promotion: str,
    warning: str,
    importance: pd.DataFrame | None = None,
) -> str:
    """Return the model card in Markdown.

    Args:
        lineage: The runs that the model comes from.
        manifest: The manifest of its portable scorer.
        test: Its metrics on the test rows, by name.
        intervals: Their 95 % intervals.
        data: The splits.
        promotion: The outcome of its selection and the reason, as a sentence without a period.
        warning: What people should know about it; empty if there is nothing.
        importance: The importance of its features, the largest first (see
            `steps.candidates.importance`); None if it is unknown.
    """
    metrics = "\n".join(
        f"| {name} | {value:.4f} ({intervals[name].low:.4f} to {intervals[name].high:.4f}) |"
        for name, value in test.items()
    )
    fitted_on = "training and validation rows" if lineage.was_refitted else "training rows"
    caution = f"\n**Warning: {as_plain_text(warning)}.**\n" if warning else ""
    rows = ", ".join(f"{name} {count:,}" for name, count in data.rows.items())
    runs = {
        "data": lineage.data_run_id,
        "selection": lineage.selection_run_id,
        "candidate": lineage.candidate_run_id,
        "model": lineage.model_run_id,
    }
    return f"""**{lineage.algorithm}** ({lineage.engine}), fitted on {fitted_on}.

{promotion}.
{caution}
{describe_worth(test | bounds(intervals), manifest.threshold, manifest.threshold_rule)}.

| metric on the untouched test rows | value (95 % interval) |
|---|---|
{metrics}

- Data: {as_code(data.source)}, {data.split} split; rows: {rows}; duplicate rows removed:
  {data.duplicates:,}.
- Target: {as_code(data.target)}. {_classes(data)}
- Input: {len(manifest.features)} features, and optionally the id column {as_code(data.id_column)}.
- Output: `prediction_id`, `score` (probability of class 1 at the rate of the
  {_rate_of(manifest)} rows) and `label` (1 if the score is at least
  {manifest.threshold:.6g}, chosen by the rule `{manifest.threshold_rule}` on the validation rows).
- Prediction log: a server that serves this model logs its predictions to `PREDICTION_LOG_URI`.
- Runs: {", ".join(f"{name} `{run_id}`" for name, run_id in runs.items())}.
{_calibration(manifest)}{_members(manifest)}{_suspects(data)}{_importance(importance)}{_columns(data)}"""


def _classes(data: SplitsDescription) -> str:
    negative, positive = data.classes
    because = f", because {data.positive_because}" if data.positive_because else ""
    return f"Class 1 is {as_code(positive)}{because}; class 0 is {as_code(negative)}."


def _rate_of(manifest: Manifest) -> str:
    return "training" if manifest.calibration is None else "validation"


def _calibration(manifest: Manifest) -> str:
    """Return the calibration of the scores; nothing if there is none."""
    if manifest.calibration is None:
        return ""
    return (
        f"- Calibration (Platt scaling): log-odds times {manifest.calibration.slope:.4g}, plus "
        f"{manifest.calibration.intercept:.4g}; learned on the validation rows, before the refit.\n"
    )


def _members(manifest: Manifest) -> str:
    """Return the members of an ensemble; nothing for a single model."""
    if not manifest.members:
        return ""
    members = ", ".join(f"{as_plain_text(one.name)} ({one.weight:.0%})" for one in manifest.members)
    return f"- Members and their shares of the log-odds: {members}.\n"


def _suspects(data: SplitsDescription) -> str:
    if not data.leakage_suspects:
        return ""
    suspects = ", ".join(
        f"{as_code(name)} (AUC {auc:.3f})" for name, auc in data.leakage_suspects.items()
    )
    return f"- Features that alone nearly give the target away: {suspects}.\n"


def _importance(importance: pd.DataFrame | None) -> str:
    """Return the most important features; nothing if they are unknown."""
    if importance is None:
        return ""
    first = importance.head(MAX_IMPORTANT)
    lines = [
        f"| {as_plain_text(name)} | {loss:.4f} |"
        for name, loss in zip(first["column"], first["roc_auc_loss"], strict=True)
    ]
    heading = "| column | loss of ROC AUC on validation rows with values of other rows |"
    return "\n".join([f"\n{heading}", "|---|---|", *lines, ""])


def _columns(data: SplitsDescription) -> str:
    """Return the columns of the table and their use; nothing for splits of earlier releases."""
    if not data.columns:
        return ""
    lines = [
        f"| {as_plain_text(column['name'])} | {column['kind']} | {column['missing']:.1%} "
        f"| {as_plain_text(column['becomes'])} |"
        for column in data.columns
    ]
    return "\n".join(["\n| column | kind | missing | use |", "|---|---|---|---|", *lines, ""])


def as_description(card: str) -> str:
    """Return a card as the description of a version; a long one lacks its last columns."""
    if len(card) <= MAX_DESCRIPTION:
        return card
    beginning = card[: MAX_DESCRIPTION - len(CONTINUED) + 1]
    return f"{beginning[: beginning.rfind(chr(10))]}{CONTINUED}"


def model_card_page(card: str, pictures: dict[str, bytes]) -> str:
    """Return `card` as a self-contained HTML page with `pictures`, PNGs by file name."""
    figures = "\n".join(
        f'<figure><img alt="{name.removesuffix(".png")}" '
        f'src="data:image/png;base64,{b64encode(picture).decode()}"></figure>'
        for name, picture in pictures.items()
    )
    # Names of columns may look like HTML.
    text = MarkdownIt(options_update={"html": False}).enable("table").render(card)
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Model card</title>
<style>{STYLE}</style>
{text}
{figures}
</html>
"""
