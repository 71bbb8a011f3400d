"""The model card of a champion: a text for the registry, and a page with its pictures."""

from base64 import b64encode

from markdown_it import MarkdownIt

from serving.scorer import Manifest
from steps.pipeline.intervals import Interval
from steps.pipeline.registry import Lineage
from steps.pipeline.splits import Description

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
    data: Description,
    reason: str,
) -> str:
    """Return what a champion is, how good it is and where it comes from, in Markdown."""
    metrics = "\n".join(
        f"| {name} | {value:.4f} ({intervals[name].low:.4f} to {intervals[name].high:.4f}) |"
        for name, value in test.items()
    )
    trained = "training and validation rows" if lineage.refit == "true" else "training rows"
    rows = ", ".join(f"{name} {count:,}" for name, count in data.rows.items())
    runs = {
        "data": lineage.data_run_id,
        "selection": lineage.selection_run_id,
        "candidate": lineage.candidate_run_id,
        "model": lineage.model_run_id,
    }
    return f"""**{lineage.algorithm}** ({lineage.engine}), fitted on {trained}.

Champion because {reason}.

| metric on the untouched test rows | value (95 % interval) |
|---|---|
{metrics}

- Data: `{data.source}`, {data.split} split; rows: {rows} (repeated ones: {data.duplicates:,},
  removed).
- Input: {len(manifest.features)} features as double, optionally `id` (string).
- Output: `prediction_id`, `score` (probability of class 1 at the training prior), `label`
  (score at or above {manifest.threshold:.6g}, where KS is reached on validation).
- It logs its own predictions when served: see `PREDICTION_LOG_URI`.
- Runs: {", ".join(f"{name} `{run_id}`" for name, run_id in runs.items())}.
"""


def model_card_page(card: str, pictures: dict[str, bytes]) -> str:
    """Return `card` as a page of HTML that holds its pictures, by file name, in itself."""
    shown = "\n".join(
        f'<figure><img alt="{name.removesuffix(".png")}" '
        f'src="data:image/png;base64,{b64encode(picture).decode()}"></figure>'
        for name, picture in pictures.items()
    )
    text = MarkdownIt().enable("table").render(card)
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Model card</title>
<style>{STYLE}</style>
{text}
{shown}
</html>
"""
