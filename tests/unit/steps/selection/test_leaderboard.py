"""Comparison of candidates, as text and as pictures."""

import numpy as np
import pandas as pd
import pytest

from steps.plots.leaderboard import ks_curves, leaderboard_plot
from steps.selection.leaderboard import compare_with_leader
from steps.selection.report import describe_ties, format_leaderboard
from tests.support.figures import figure_text

pytestmark = pytest.mark.quick


class TestCompareWithLeader:
    @pytest.fixture
    def comparison(self):
        """Three candidates: a good one, one like it, and one that guesses."""
        random = np.random.default_rng(1)
        y = np.r_[np.ones(60, int), np.zeros(2000, int)]
        good = random.normal(size=len(y)) + 3 * y
        scores = {
            "a": good,
            "b": good + 0.01 * random.normal(size=len(y)),
            "c": random.random(len(y)),
        }
        scores = {name: np.argsort(np.argsort(values)) / len(y) for name, values in scores.items()}
        board = pd.DataFrame(
            {
                "engine": ["h2o", "spark", "spark"],
                "algorithm": ["one", "two", "three"],
                "run_id": list("abc"),
                "eligible": True,
                "refittable": True,
                "export": "verified",
                "seconds_per_row": [2.5e-6, 3e-5, np.nan],
            }
        )
        for name in ("ks", "roc_auc", "average_precision", "log_loss", "brier"):
            for end, value in (("", 0.8), ("_low", 0.7), ("_high", 0.9)):
                board[f"val_{name}{end}"] = value
        return compare_with_leader(board, "ks", y, scores), y, scores

    def test_ties_are_reported(self, comparison):
        board, _, _ = comparison
        assert list(board["standing"]) == ["leader", "tie", "behind"]
        assert board["difference"].iloc[2] < board["difference_high"].iloc[2] < 0
        assert describe_ties(board) == "1 of the other 2 candidates is statistically tied with it"
        shown = format_leaderboard(board, "ks")
        assert "0.700 to 0.900" in shown
        assert [line.split()[-2] for line in shown.splitlines()[:3]] == ["µs", "2.5", "30.0"]
        assert "nan" not in shown  # the cost of the third was not measured

    def test_plots_name_every_candidate(self, comparison):
        board, y, scores = comparison
        assert "tied with the leader: 1 of 2" in figure_text(leaderboard_plot(board, "ks"))
        names = (("h2o", "one"), ("spark", "two"), ("spark", "two"))  # of two runs of an engine
        candidates = [(*name, of) for name, of in zip(names, scores.values(), strict=True)]
        figure = ks_curves(y, candidates)
        assert all(f"{engine} {algorithm}" in figure_text(figure) for engine, algorithm in names)
        assert len(figure.axes[0].get_lines()) == 3
        top = max(line.get_ydata().max() for line in figure.axes[0].get_lines())
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert top == pytest.approx(float(labels[0].split()[0]), abs=0.01)
