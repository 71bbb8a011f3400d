"""Ids of predictions and of entities."""

import time
import uuid

import pytest

from serving.errors import InputError
from serving.model.prediction import parse_entity_id
from serving.model.prediction_ids import prediction_ids

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("spool")]


def test_new_ids_are_unique_and_ordered():
    first = prediction_ids(40_000)
    time.sleep(0.002)
    second = prediction_ids(1000)
    assert sorted(first + second) == first + second
    assert len(set(first + second)) == 41_000
    assert {uuid.UUID(one).version for one in first} == {7}
    assert {uuid.UUID(one).variant for one in first} == {uuid.RFC_4122}


def test_request_ids_determine_prediction_ids():
    assert prediction_ids(3, "a") == prediction_ids(3, "a")
    assert prediction_ids(2, "a") == prediction_ids(3, "a")[:2]
    assert not set(prediction_ids(3, "a")) & set(prediction_ids(3, "b"))
    assert not set(prediction_ids(3, "a", "fraud")) & set(prediction_ids(3, "a", "churn"))


def test_empty_id_of_an_entity_is_refused():
    with pytest.raises(InputError, match="column id, row 3: must not be empty"):
        parse_entity_id("", 3)
    assert parse_entity_id(None, 3) is None
