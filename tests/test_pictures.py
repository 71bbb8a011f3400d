"""The pictures hold what they must show. What they look like, a person has to say."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from steps.pipeline.leaderboard import compare_with_leader
from steps.pipeline.outcome import as_text, ties
from steps.pipeline.plots import as_png, curves, ks_curves, leaderboard_plot
from steps.pipeline.profile_plots import drift, profile
from steps.pipeline.sources import read_source
from steps.pipeline.table import SplitTable, split_table

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def sample() -> SplitTable:
    return split_table(read_source("sample"), "sample", "Class", "Time", "auto", 42)


def texts(figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_drift_is_the_distance_from_the_training_rows(sample):
    found = drift(sample)
    assert found.index[0] in ("V1", "V3")
    expected = ks_2samp(sample.training["V3"], sample.test["V3"]).statistic
    assert found.loc["V3", "test"] == pytest.approx(expected)
    assert found.max(axis=1).is_monotonic_decreasing


def test_the_profile_shows_classes_drift_and_distributions(sample):
    figures = profile(sample, "Class")
    assert set(figures) == {"classes.png", "drift.png", "distributions.png"}
    assert "342 of 8,814 are 1 (3.88%)" in texts(figures["classes.png"])
    for name in ("drift.png", "distributions.png"):
        for feature in sample.features:
            assert feature in texts(figures[name])
        assert as_png(figures[name]).startswith(b"\x89PNG")


def test_a_profile_of_odd_columns_and_of_very_many(table):
    odd = table.assign(constant=1.0, rare=table["V1"].where(table.index % 9 == 0))
    wide = pd.concat([odd, pd.DataFrame(0.5, odd.index, [f"w{i}" for i in range(60)])], axis=1)
    for frame, title in ((odd, "most drifted first"), (wide, "the 30 most drifted of 64 features")):
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
        figures = profile(split_table(arrow, "t", "Class", "Time", "auto", 1), "Class")
        for name in ("drift.png", "distributions.png"):
            assert title in texts(figures[name])
            as_png(figures[name])


def test_scores_next_to_zero_do_not_stretch_the_axes():
    y = (np.arange(5000) % 100 == 0).astype(int)
    figures = curves(y, np.geomspace(1, 1e-150, len(y)), "some model")
    for name in ("ks.png", "calibration.png"):
        (axes,) = figures[name].axes
        assert 1e-9 < axes.get_xlim()[0] < 1e-6
        as_png(figures[name])


class TestComparison:
    @pytest.fixture
    def compared(self):
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
                "export": "equal to the model",
            }
        )
        for name in ("ks", "roc_auc", "average_precision", "log_loss", "brier"):
            for end, value in (("", 0.8), ("_low", 0.7), ("_high", 0.9)):
                board[f"val_{name}{end}"] = value
        return compare_with_leader(board, "ks", y, scores), y, scores

    def test_a_tie_is_called_a_tie(self, compared):
        board, _, _ = compared
        assert list(board["standing"]) == ["leader", "tie", "behind"]
        assert board["difference"].iloc[2] < board["difference_high"].iloc[2] < 0
        assert ties(board) == "1 of the 2 others are tied with it: the difference may be chance"
        assert "0.700 to 0.900" in as_text(board, "ks")

    def test_its_pictures_name_every_candidate(self, compared):
        board, y, scores = compared
        assert "1 of 2 are tied with the leader" in texts(leaderboard_plot(board, "ks"))
        names = (("h2o", "one"), ("spark", "two"), ("spark", "two"))  # of two runs of an engine
        candidates = [(*name, of) for name, of in zip(names, scores.values(), strict=True)]
        figure = ks_curves(y, candidates)
        assert all(f"{engine} {algorithm}" in texts(figure) for engine, algorithm in names)
        assert len(figure.axes[0].get_lines()) == 3
        top = max(line.get_ydata().max() for line in figure.axes[0].get_lines())
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert top == pytest.approx(float(labels[0].split()[0]), abs=0.01)
