"""Validation of a scorer's manifest."""

import json
from dataclasses import replace

import pytest

from serving.errors import ScorerError
from serving.model.manifest import (
    CALIBRATED_FORMAT_VERSION,
    ENSEMBLE_FORMAT_VERSION,
    Manifest,
)
from serving.model.probabilities import Calibration

pytestmark = pytest.mark.quick

VALID = {
    "kind": "onnx",
    "features": [{"name": "V1"}, {"name": "gap", "type": "double", "nullable": True}],
    "threshold": 0.5,
    "positive_weight": 2,
    "reference": {"V1": {"mean": float("nan")}},
    "format_version": 1,
}
DAMAGED = {
    "threshold null": ({"threshold": None}, "threshold: "),
    "threshold text": ({"threshold": "0.5"}, "threshold: "),
    "threshold boolean": ({"threshold": True}, "threshold: "),
    "threshold nan": ({"threshold": float("nan")}, "threshold: "),
    "threshold infinite": ({"threshold": float("inf")}, "threshold: "),
    "threshold of no score": ({"threshold": 1.5}, "threshold: "),
    "weight zero": ({"positive_weight": 0}, "positive_weight: "),
    "weight negative": ({"positive_weight": -1.0}, "positive_weight: "),
    "weight nan": ({"positive_weight": float("nan")}, "positive_weight: "),
    "slope zero": ({"calibration": {"slope": 0.0, "intercept": 0.0}}, r"calibration.slope: "),
    "intercept too large": (
        {"calibration": {"slope": 1.0, "intercept": 701.0}},
        r"calibration.intercept: ",
    ),
    "kind unknown": ({"kind": "pickle"}, "kind: "),
    "reference null": ({"reference": None}, "reference: "),
    "version boolean": ({"format_version": True}, "format_version"),
    "version text": ({"format_version": "1"}, "format_version"),
    "features null": ({"features": None}, "features: "),
    "features empty": ({"features": []}, "features: must name at least one"),
    "name number": ({"features": [{"name": 5}]}, r"features\[0\].name: "),
    "name empty": ({"features": [{"name": ""}]}, r"features\[0\].name: "),
    "name id": ({"features": [{"name": "id"}]}, r"features\[0\].name: must not be 'id'"),
    "name NUL": ({"features": [{"name": "a\0"}]}, r"features\[0\].name: "),
    "name half a surrogate": ({"features": [{"name": "\ud800"}]}, "manifest.json"),
    "name twice": ({"features": [{"name": "a"}, {"name": "a"}]}, r"repeats the names \['a'\]"),
    "nullable number": ({"features": [{"name": "a", "nullable": 1}]}, r"features\[0\].nullable: "),
    "kind of feature unknown": (
        {"features": [{"name": "a", "kind": "text"}]},
        r"features\[0\].kind: ",
    ),
    "category without encoding": (
        {"features": [{"name": "a", "kind": "category"}]},
        "encodings: the category 'a' has none",
    ),
    "encoding of no feature": (
        {"encodings": [{"feature": "b", "columns": ["b"]}]},
        r"encodings: \['b'\] are no features",
    ),
    "encoding of other width": (
        {
            "features": [{"name": "a", "kind": "category"}],
            "encodings": [
                {"feature": "a", "columns": ["a1", "a2"], "missing": [0, 0], "unseen": [0]}
            ],
        },
        "encodings: that of 'a' does not fit a category",
    ),
    "encoding infinite": (
        {"encodings": [{"feature": "V1", "columns": ["V1"], "missing": [float("inf")]}]},
        r"encodings\[0\].missing\[0\]: ",
    ),
    "column repeated": (
        {
            "encodings": [
                {"feature": "V1", "columns": ["x"]},
                {"feature": "gap", "columns": ["x"]},
            ]
        },
        "encodings: a column is repeated",
    ),
}


def test_manifest_is_read_back(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(VALID | {"later": [1]}))
    manifest = Manifest.read(tmp_path)
    manifest.write(tmp_path)
    again = Manifest.read(tmp_path)
    assert (manifest.features, manifest.threshold) == (again.features, 0.5)
    assert [feature.nullable for feature in again.features] == [False, True]


def test_calibration_is_read_back_in_a_format_that_earlier_releases_refuse(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(VALID))
    plain = Manifest.read(tmp_path)
    assert plain.with_calibration(None, 0.2) == replace(plain, threshold=0.2)
    plain.with_calibration(Calibration(0.5, -1.25), 0.25).write(tmp_path)
    again = Manifest.read(tmp_path)
    assert (again.calibration, again.threshold) == (Calibration(0.5, -1.25), 0.25)
    assert again.format_version > ENSEMBLE_FORMAT_VERSION


def test_newer_format_is_refused(tmp_path):
    newer = VALID | {"format_version": CALIBRATED_FORMAT_VERSION + 1}
    (tmp_path / "manifest.json").write_text(json.dumps(newer))
    with pytest.raises(ScorerError, match="format 5 is not supported"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_manifest_is_refused(tmp_path, damage):
    changes, message = DAMAGED[damage]
    (tmp_path / "manifest.json").write_text(json.dumps(VALID | changes))
    with pytest.raises(ScorerError, match=message):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, '{"format_version": 1}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ScorerError, match=r"manifest\.json"):
        Manifest.read(tmp_path)
