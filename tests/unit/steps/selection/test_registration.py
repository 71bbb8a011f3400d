"""Example rows of a champion."""

import json

import numpy as np
import pytest

from serving.model.manifest import Manifest
from serving.model.schema import FeatureSchema
from steps.selection.registration import write_example, write_reference_rows
from tests.support.mixed_splits import FEATURES, TARGET, mixed_table

pytestmark = pytest.mark.quick


def test_example_has_values_as_callers_send_them(tmp_path):
    features = [feature for feature in FEATURES if feature.kind in ("number", "boolean")]
    Manifest("onnx", tuple(features), threshold=0.5, id_column="key").write(tmp_path)
    rows = mixed_table(100).drop(columns=TARGET).iloc[[0, 1]]
    write_example(tmp_path, rows)
    example = Manifest.read(tmp_path).example
    assert list(example) == ["prediction", "Prediction", "member", "key"]
    assert example["member"] == [None, "Yes" if rows["member"].iloc[1] else "No"]
    schema = FeatureSchema(features)
    again = schema.parse_columns([example[name] for name in schema.names])
    np.testing.assert_array_equal(again.numbers, schema.parse_frame(rows).numbers)
    assert "NaN" not in json.dumps(example)


def test_reference_rows_have_values_as_callers_send_them(tmp_path):
    features = [feature for feature in FEATURES if feature.kind in ("number", "boolean")]
    Manifest("onnx", tuple(features), threshold=0.5, id_column="key").write(tmp_path)
    rows = mixed_table(100).drop(columns=TARGET)
    write_reference_rows(tmp_path, rows)
    found = Manifest.read(tmp_path).reference_rows
    schema = FeatureSchema(features)
    again = schema.parse_columns([found[name] for name in schema.names])
    np.testing.assert_array_equal(again.numbers, schema.parse_frame(rows.head(25)).numbers)
