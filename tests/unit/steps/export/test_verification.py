"""Verification of an export against its model."""

from pathlib import Path

import numpy as np
import pytest

from steps.data.splits import Split
from steps.export.verification import (
    ABSOLUTE_TOLERANCE,
    RELATIVE_TOLERANCE,
    verify_export,
)
from tests.support.linear_scorer import linear_scores, write_scorer

pytestmark = pytest.mark.quick


def verify(scorer, native, frame, y=None):
    y = np.arange(len(frame)) % 5 == 0 if y is None else y
    rows = frame.assign(Class=y.astype(int))
    split = Split("validation", Path("validation.parquet"), list(frame), "Class", in_memory=rows)
    return verify_export(scorer, native, split)


def test_equal_export_passes(tmp_path, feature_rows):
    native = linear_scores(feature_rows)
    assert verify(write_scorer(tmp_path), native, feature_rows).failures == []


def test_few_rows_pass(tmp_path, feature_rows):
    few = feature_rows.head(20)
    assert verify(write_scorer(tmp_path), linear_scores(few), few).failures == []


def test_rows_of_one_class_pass(tmp_path, feature_rows):
    check = verify(
        write_scorer(tmp_path), linear_scores(feature_rows), feature_rows, feature_rows.V1 > 1e9
    )
    assert (check.failures, check.ks_difference) == ([], 0.0)


def test_one_different_row_fails(tmp_path, feature_rows):
    native = linear_scores(feature_rows)
    native[123] += 2 * ABSOLUTE_TOLERANCE
    (failure,) = verify(write_scorer(tmp_path), native, feature_rows).failures
    assert "scores differ by up to 2e-09" in failure


def test_small_scores_must_be_close_relative_to_their_value(tmp_path, feature_rows):
    scorer = write_scorer(tmp_path)
    close = linear_scores(feature_rows) * 1e-5
    scorer.score = lambda rows: close[rows.index]
    (failure,) = verify(scorer, close * (1 + 2 * RELATIVE_TOLERANCE), feature_rows).failures
    assert "scores differ by up to 2e-06 of their value" in failure


def test_tie_that_the_last_digit_breaks_passes(tmp_path, feature_rows):
    scorer = write_scorer(tmp_path)
    tied = np.full(len(feature_rows), 0.25)
    positives = np.arange(len(feature_rows)) < 100
    scorer.score = lambda rows: np.where(positives, np.nextafter(tied, 1), tied)[rows.index]
    check = verify(scorer, tied, feature_rows, positives)
    assert check.ks_difference == 1
    assert check.failures == []


def test_nan_scores_fail(tmp_path, feature_rows):
    native = linear_scores(feature_rows)
    native[7] = np.nan
    assert verify(write_scorer(tmp_path), native, feature_rows).failures


def test_rows_scored_differently_alone_fail(tmp_path, feature_rows):
    scorer = write_scorer(tmp_path)
    scorer.score = lambda rows: linear_scores(rows) + (1e-12 if len(rows) == 1 else 0)
    (failure,) = verify(scorer, linear_scores(feature_rows), feature_rows).failures
    assert "200 of 200 rows score differently alone" in failure
