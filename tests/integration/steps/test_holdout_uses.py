"""Uses of the same test rows by selections of this and of an earlier release."""

import mlflow
import pytest

from steps.data.logged_splits import open_splits
from steps.data.split_files import digest_of_file
from steps.data.splits import FILE_DIGESTS
from steps.selection.holdout_uses import DIGEST_TAG, uses_of_test_rows
from tests.support.earlier_release import unpack_earlier_release

pytestmark = pytest.mark.quick


@pytest.fixture
def earlier_release(tmp_path):
    before = mlflow.get_tracking_uri()
    folder = unpack_earlier_release(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    yield
    mlflow.set_tracking_uri(before)


def test_selections_of_an_earlier_release_count(earlier_release):
    (*_, selection) = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.{DIGEST_TAG} != ''",
        output_format="list",
    )
    old_digest = selection.data.tags[DIGEST_TAG]
    same = mlflow.search_runs(
        [selection.info.experiment_id], f"tags.{DIGEST_TAG} = '{old_digest}'", output_format="list"
    )
    with (
        mlflow.start_run(experiment_id=mlflow.create_experiment("of another name")),
        open_splits(selection.data.tags["data_run_id"]) as splits,
    ):
        digests = splits.description.digests
        assert splits.description.digest_kind == FILE_DIGESTS
        assert digests["test"] == old_digest
        digests["test"] = digest_of_file(splits.test.file)  # as loaded again today
        assert uses_of_test_rows(splits) == len(same) > 0
        mlflow.set_tag(DIGEST_TAG, digests["test"])
        assert uses_of_test_rows(splits) == len(same) + 1
        digests["test"] = "of other rows"
        assert uses_of_test_rows(splits) == 0
