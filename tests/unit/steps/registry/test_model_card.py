"""The model card."""

from html import escape

import numpy as np
import pandas as pd
import pytest

from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.probabilities import Calibration
from steps.data.splits import SplitsDescription
from steps.evaluation.intervals import Interval
from steps.registry.champion_model import Lineage
from steps.registry.model_card import as_description, model_card, model_card_page

pytestmark = pytest.mark.quick

LINEAGE = Lineage("spark", "Decision Tree", "ks", "run1", "run2", "run3", "run4", "true")
TEST = dict.fromkeys(
    ("ks", "recall_at_threshold", "precision_at_threshold", "alert_rate_at_threshold"), 0.5
)
DATA = {
    "source": "bank.csv", "target": "deposit", "time_column": "", "split": "stratified",
    "duplicates": 0, "rows": {"training": 60, "validation": 20, "test": 20}, "positives": {},
    "digests": {}, "latest": {}, "features": [], "feature_statistics": {},
}  # fmt: skip
COLUMNS = [
    {"name": "a|b", "kind": "number", "missing": 0.125, "levels": 0, "becomes": "number"},
    {"name": "key", "kind": "identifier", "missing": 0, "levels": 9, "becomes": "left out: an id"},
]


def card_of(importance=None, calibration=None, **facts):
    manifest = Manifest("onnx", (Feature("a|b"),), threshold=0.5, calibration=calibration)
    intervals = dict.fromkeys(TEST, Interval(0.4, 0.6))
    data = SplitsDescription(**DATA | facts)
    outcome = "Promoted because it is the first"
    return model_card(LINEAGE, manifest, TEST, intervals, data, outcome, "", importance)


def test_model_card_names_classes_columns_and_suspects():
    card = card_of(
        classes=["no", "yes"],
        positive_because="it reads as true",
        columns=COLUMNS,
        leakage_suspects={"duration": 0.9961},
    )
    assert "Class 1 is `yes`, because it reads as true; class 0 is `no`." in card
    assert "nearly give the target away: `duration` (AUC 0.996)" in card
    assert r"| a\|b | number | 12.5% | number |" in card
    page = model_card_page(card, {})
    assert "<td>a|b</td>" in page
    assert "<td>left out: an id</td>" in page


def test_model_card_names_the_calibration():
    assert "log-odds times 0.5, plus -1.25;" in card_of(calibration=Calibration(0.5, -1.25))
    assert "Calibration" not in card_of()


def test_model_card_names_the_ten_most_important_columns():
    names = ["a|b", *(f"<i>{place}</i>" for place in range(11))]
    importance = pd.DataFrame({"column": names, "roc_auc_loss": np.linspace(0.3, 0.0, 12)})
    card = card_of(importance)
    assert r"| a\|b | 0.3000 |" in card
    page = model_card_page(card, {})
    assert "<td>&lt;i&gt;8&lt;/i&gt;</td>" in page
    assert "<td>&lt;i&gt;9&lt;/i&gt;</td>" not in page


@pytest.mark.parametrize(
    "name", ["__init__", "[a](b)", "*bold*", "~~x~~", "`code`", "credit_card", r"a\|b", "_a_ _"]
)
def test_model_card_shows_names_as_they_are(name):
    importance = pd.DataFrame({"column": [name], "roc_auc_loss": [0.3]})
    page = model_card_page(card_of(importance=importance), {})
    assert f"<td>{name}</td>" in page


def test_model_card_of_earlier_splits_has_no_columns():
    card = card_of()
    assert "Class 1 is `1`; class 0 is `0`." in card
    assert "| column |" not in card
    assert "shuffled" not in card


def test_names_have_no_markup_in_mlflow_whose_escapes_do_not_include_angle_brackets():
    name = "<img src=x onerror=alert(1)> &lt;b&gt;"
    importance = pd.DataFrame({"column": [name], "roc_auc_loss": [0.3]})
    card = card_of(importance=importance)
    assert "<" not in card
    assert f"<td>{escape(name, quote=False)}</td>" in model_card_page(card, {})


def test_backticks_in_names_do_not_end_their_code():
    card = card_of(target="a `<b>`", classes=["`no`", "``yes"], leakage_suspects={"`x": 0.99})
    page = model_card_page(card, {})
    for shown in ("a `&lt;b&gt;`", "`no`", "``yes", "`x"):
        assert f"<code>{shown}</code>" in page


def test_description_of_a_version_has_at_most_5000_characters():
    card = card_of(columns=[COLUMNS[0] | {"name": f"column {place}"} for place in range(500)])
    description = as_description(card)
    assert 4_900 < len(description) <= 5_000
    assert "| column 0 | number | 12.5% | number |\n" in description
    assert description.endswith(
        "|\n\nThe whole card is the artifact `model_card.md` of the selection's run."
    )
    assert as_description("short") == "short"
