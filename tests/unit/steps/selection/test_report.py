"""The result of a workflow as text."""

import pandas as pd
import pytest

from steps.runtime.mlflow_pages import Pages
from steps.selection.leaderboard import VALIDATION_METRICS
from steps.selection.report import (
    TEST_METRICS,
    describe_ties,
    format_leaderboard,
    format_next,
    format_summary,
)

pytestmark = pytest.mark.quick

BOARD = pd.DataFrame({"standing": ["leader", "tie"]})
AT_THRESHOLD = tuple(f"test_{name}_at_threshold" for name in ("recall", "precision", "alert_rate"))
TEST = {
    f"{name}{end}": 0.5 for name in (*TEST_METRICS, *AT_THRESHOLD) for end in ("", "_low", "_high")
}
TAGS = {
    "algorithm": "lr",
    "engine": "pycaret",
    "promoted": "true",
    "champion_version": "3",
    "decision": "it is better",
    "threshold": "0.012",
    "threshold_rule": "ks",
}


@pytest.mark.parametrize("metric", ["ks", "roc_auc", "average_precision"])
def test_leaderboard_fits_a_terminal(metric):
    names = [f"{name}{end}" for name in VALIDATION_METRICS for end in ("", "_low", "_high")]
    board = pd.DataFrame({name: [0.5] * 12 for name in names})
    board["engine"], board["algorithm"] = "ensemble", "StackedEnsemble_BestOfFamily_1"
    board["seconds_per_row"] = [99.94e-6, 1234e-6] * 6
    board["standing"], board["eligible"], board["export"] = "leader", True, "verified"
    shown = format_leaderboard(board, metric)
    assert max(map(len, shown.splitlines())) <= 100
    assert "0.500 to 0.500" in shown
    assert "verified" not in shown


def test_reasons_of_unverified_exports_do_not_widen_the_leaderboard():
    names = [f"{name}{end}" for name in VALIDATION_METRICS for end in ("", "_low", "_high")]
    board = pd.DataFrame({name: [0.5, 0.5] for name in names})
    board["engine"], board["algorithm"], board["standing"] = "spark", "Random Forest", "tie"
    board["seconds_per_row"] = [1e-6, float("nan")]
    reason = "; ".join(["scores differ by up to 1"] * 9)
    board["eligible"], board["export"] = [True, False], ["verified", reason]
    shown = format_leaderboard(board, "ks")
    assert max(map(len, shown.splitlines())) <= 100
    assert f"#2 cannot become champion, its export is not verified: {reason}" in " ".join(
        shown.split()
    )
    assert "nan" not in shown


LINKS = {"run": "#/experiments/1/runs/2", "data": "#/experiments/1/runs/3/artifacts/data.html"}


def test_end_has_commands_quoted_for_the_shell_and_links():
    end = format_next(Pages("http://127.0.0.1:5000", "make ui"), LINKS, "fraud detection", "3")
    assert end.splitlines() == [
        "Next:",
        "  make ui",
        "  MLPIPES_MODEL_URI='models:/fraud detection@champion' make serve",
        "  mlflow models serve -m 'models:/fraud detection@champion' -p 5002 --env-manager local",
        "",
        "Pages, once the first command runs:",
        "  run   http://127.0.0.1:5000/#/experiments/1/runs/2",
        "  data  http://127.0.0.1:5000/#/experiments/1/runs/3/artifacts/data.html",
    ]


def test_end_with_a_server_starts_none():
    end = format_next(Pages("https://mlflow.example.com"), LINKS, "fraud", "3")
    assert "ui" not in end
    assert len(end.partition("\n\n")[0].splitlines()) == 4
    assert "Pages:\n  run   https://mlflow.example.com/#/experiments/1/runs/2" in end


def test_end_without_champion_has_no_commands_to_serve_it():
    assert "serve" not in format_next(Pages("http://127.0.0.1:5000", "make ui"), LINKS, "f", "")
    assert format_next(None, LINKS, "f", "") == ""
    tags = TAGS | {"promoted": "false", "champion_version": "", "warning": "it guesses"}
    summary = format_summary(BOARD, tags, TEST, "fraud")
    assert summary.endswith("Warning: it guesses.\nfraud has no champion: it is better.")


def test_summary_says_what_to_expect_at_the_threshold():
    test = TEST | {
        "test_recall_at_threshold": 0.92,
        "test_precision_at_threshold": 0.026,
        "test_alert_rate_at_threshold": 0.0461,
    }
    board = pd.DataFrame({"standing": ["leader", "behind"] + ["tie"] * 12})
    tags = TAGS | {"algorithm": "Hist Gradient Boosting"}
    summary = format_summary(board, tags, test, "fraud")
    assert max(map(len, summary.splitlines())) <= 100
    summary = " ".join(summary.split())
    assert "At its threshold of 0.012 (ks), expect 92 (50 to 50) % of the positives" in summary
    assert "461 (5,000 to 5,000) alerts per 10,000 rows, of which 2.6 (50 to 50) % are" in summary
    assert "-P threshold=RULE, with cost=MISS:ALARM, alerts=SHARE%, precision=P or rec" in summary


@pytest.mark.parametrize(
    ("standings", "text"),
    [
        (["leader"], "the only candidate"),
        (["leader", "tie"], "the other candidate is statistically tied with it"),
        (["leader", "behind"], "the other candidate is not statistically tied with it"),
        (["leader", "tie", "tie"], "all 2 other candidates are statistically tied with it"),
        (["leader", "behind", "tie"], "1 of the other 2 candidates is statistically tied with it"),
        (
            ["leader", "behind", "behind"],
            "none of the other 2 candidates is statistically tied with it",
        ),
    ],
)
def test_ties_are_described_for_any_number_of_candidates(standings, text):
    assert describe_ties(pd.DataFrame({"standing": standings})) == text
