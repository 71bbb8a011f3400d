"""The result of a workflow as text for the terminal."""

import shlex
import textwrap

import pandas as pd

from steps.evaluation.worth import THRESHOLD_OPTIONS, describe_worth
from steps.runtime.mlflow_pages import Pages

# In the table for the terminal, which has at most 100 columns.
SHOWN_METRICS = ("ks", "roc_auc", "average_precision", "log_loss")
SHORT_NAMES = {"rank": "#", "roc_auc": "AUC", "average_precision": "AP", "log_loss": "loss"}
SHOWN_COMMANDS = 3
TEST_METRICS = ("test_ks", "test_roc_auc", "test_average_precision", "test_recall_at_1pct_fpr")


def format_leaderboard(board: pd.DataFrame, metric: str) -> str:
    """Return `board` as a table, with the 95 % interval of `metric`.

    The cost of a row is in microseconds. Candidates whose export is not verified follow below the
    table, with the reason.
    """
    shown = board[["engine", "algorithm", *(f"val_{name}" for name in SHOWN_METRICS)]].rename(
        columns=lambda name: name.removeprefix("val_")
    )
    shown.insert(0, "rank", [str(i + 1) for i in range(len(board))])
    intervals = zip(board[f"val_{metric}_low"], board[f"val_{metric}_high"], strict=True)
    texts = [f"{low:.3f} to {high:.3f}" for low, high in intervals]
    shown.insert(list(shown.columns).index(metric) + 1, "95 % interval", texts)
    shown["µs"] = [_microseconds(seconds) for seconds in board["seconds_per_row"]]
    shown["standing"] = board["standing"]
    shown = shown.rename(columns=SHORT_NAMES)
    table = shown.to_string(index=False, float_format=lambda value: f"{value:.4f}")
    unverified = [
        _wrapped(f"#{place} cannot become champion, its export is not verified: {reason}")
        for place, (eligible, reason) in enumerate(
            zip(board["eligible"], board["export"], strict=True), 1
        )
        if not eligible
    ]
    return "\n".join([table, *unverified])


def _microseconds(seconds: float) -> str:
    """Return a cost in four characters; empty if it was not measured."""
    if pd.isna(seconds):
        return ""
    cost = 1e6 * seconds
    return f"{cost:.1f}" if cost < 99.95 else f"{cost:.0f}"


def format_summary(
    board: pd.DataFrame, tags: dict[str, str], test: dict[str, float], model_name: str
) -> str:
    """Return the winner, its test metrics, and the decision.

    Args:
        board: The leaderboard.
        tags: The tags of the selection's run.
        test: Its metrics `test_*`.
        model_name: The registered model.
    """
    metrics = ", ".join(
        f"{name} {test[name]:.4f} ({test[f'{name}_low']:.3f} to {test[f'{name}_high']:.3f})"
        for name in TEST_METRICS
    )
    version = tags["champion_version"]
    warning = f"Warning: {tags['warning']}.\n" if "warning" in tags else ""
    outcome = describe_champion(model_name, version, tags["promoted"] == "true")
    values = {name.removeprefix("test_"): value for name, value in test.items()}
    worth = describe_worth(values, float(tags["threshold"]), tags["threshold_rule"])
    options = f"Other thresholds, without training: -P threshold=RULE, with {THRESHOLD_OPTIONS}."
    winner = f"Winner: {tags['algorithm']} ({tags['engine']}); {describe_ties(board)}."
    return f"""{_wrapped(winner)}
{_wrapped(metrics)}
{_wrapped(f"{worth}.")}
{_wrapped(options)}
{warning}{outcome}: {tags["decision"]}."""


def format_next(pages: Pages | None, links: dict[str, str], model_name: str, version: str) -> str:
    """Return commands to continue with, and the addresses of pages.

    Args:
        pages: Where people read the pages of MLflow; None if that is unknown.
        links: Links within the pages, by name.
        model_name: The registered model.
        version: Its champion; empty if it has none.
    """
    commands = [pages.command] if pages and pages.command else []
    if version:
        commands += _commands_for_champion(model_name)
    parts = ["\n  ".join(["Next:", *commands[:SHOWN_COMMANDS]])] if commands else []
    if pages:
        title = "Pages, once the first command runs:" if pages.command else "Pages:"
        width = max(map(len, links))
        rows = [f"{name.ljust(width)}  {pages.address(link)}" for name, link in links.items()]
        parts.append("\n  ".join([title, *rows]))
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def describe_champion(model_name: str, version: str | None, promoted: bool) -> str:
    """Return which version is the champion after a decision, in words."""
    if not version:
        return f"{model_name} has no champion"
    outcome = "is the new champion" if promoted else "remains the champion"
    return f"{model_name} version {version} {outcome}"


def _commands_for_champion(model_name: str) -> list[str]:
    uri = shlex.quote(f"models:/{model_name}@champion")
    return [
        f"MLPIPES_MODEL_URI={uri} make serve",
        f"mlflow models serve -m {uri} -p 5002 --env-manager local",
        f"mlflow run . -e monitor --env-manager local -P {shlex.quote(f'model_name={model_name}')}",
    ]


def describe_ties(board: pd.DataFrame) -> str:
    """Return how many candidates are statistically tied with the leader, in words."""
    tied, others = int((board["standing"] == "tie").sum()), len(board) - 1
    if not others:
        return "the only candidate"
    if others == 1:
        return f"the other candidate is {'' if tied else 'not '}statistically tied with it"
    if tied == 0:
        return f"none of the other {others} candidates is statistically tied with it"
    if tied == others:
        return f"all {others} other candidates are statistically tied with it"
    verb = "is" if tied == 1 else "are"
    return f"{tied} of the other {others} candidates {verb} statistically tied with it"
