"""Output of a batch: prediction ids and names of columns."""

import uuid

import pytest

from serving.batch.output import added_columns, batch_prediction_ids, output_columns

pytestmark = pytest.mark.quick


def test_batch_ids_depend_on_job_and_row():
    def ids(job: str, first: int, rows: int) -> list[str]:
        return batch_prediction_ids(job, first, rows).to_pylist()

    assert ids("job", 0, 5) == ids("job", 0, 2) + ids("job", 2, 3)
    assert len({*ids("job", 0, 5), *ids("other", 0, 5)}) == 10
    (last,) = ids("job", 0xABCDEF012345, 1)
    assert (uuid.UUID(last).version, last[24:]) == (8, "abcdef012345")


def test_columns_of_predictions_get_the_first_free_number():
    names = output_columns(["score", "label", "label_1", "model"])
    assert names[:4] == ["score", "label", "label_1", "model"]
    added = ["prediction_id", "score_1", "label_2", "model_name", "model_version"]
    assert names[4:] == added_columns(names) == added
    assert added_columns(output_columns(["Score"]))[1] == "score_1"
