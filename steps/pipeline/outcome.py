"""What a run tells at its end, in words."""

import pandas as pd

METRICS = ("val_ks", "val_roc_auc", "val_average_precision", "val_log_loss", "val_brier")


def as_text(board: pd.DataFrame, metric: str) -> str:
    """Return `board` for a terminal."""
    shown = board[["engine", "algorithm", *METRICS]].rename(
        columns=lambda name: name.removeprefix("val_")
    )
    shown.insert(0, "rank", [str(i + 1) for i in range(len(board))])
    ends = zip(board[f"val_{metric}_low"], board[f"val_{metric}_high"], strict=True)
    place = list(shown.columns).index(metric) + 1
    shown.insert(place, "95 % interval", [f"{low:.3f} to {high:.3f}" for low, high in ends])
    shown["standing"] = board["standing"]
    shown["export"] = board["export"]
    return shown.to_string(index=False, float_format=lambda value: f"{value:.4f}")


def ties(board: pd.DataFrame) -> str:
    """Return in words how many candidates are as good as the leader, as far as one can tell."""
    tied, others = int((board["standing"] == "tie").sum()), len(board) - 1
    if not tied:
        return f"none of the {others} others is within its margin"
    return f"{tied} of the {others} others are tied with it: the difference may be chance"


def summary(
    board: pd.DataFrame, tags: dict[str, str], test: dict[str, float], model_name: str
) -> str:
    """Return what a person wants to know at the end, and what to type next."""
    shown = ("test_ks", "test_roc_auc", "test_average_precision", "test_recall_at_1pct_fpr")
    figures = ", ".join(
        f"{name} {test[name]:.4f} ({test[f'{name}_low']:.3f} to {test[f'{name}_high']:.3f})"
        for name in shown
    )
    if tags["promoted"] == "true":
        outcome = f"{model_name} version {tags['champion_version']} is the new champion"
    else:
        outcome = f"version {tags['champion_version']} of {model_name} stays the champion"
    return f"""Winner: {tags["algorithm"]} ({tags["engine"]}); {ties(board)}.
{figures}
{outcome}: {tags["decision"]}.

Next:
  mlflow ui
  MLPIPES_MODEL_URI=models:/{model_name}@champion make serve
  mlflow models serve -m models:/{model_name}@champion -p 5002 --env-manager local"""
