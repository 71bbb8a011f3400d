"""The number of selections that have used the same test rows."""

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from steps.data.logged_splits import open_splits
from steps.data.split_files import digest_of_file
from steps.data.splits import FILE_DIGESTS, Splits
from steps.runtime.errors import ParameterError

DIGEST_TAG = "test_digest"


def uses_of_test_rows(splits: Splits) -> int:
    """Return how many selections of all experiments have used the test rows of `splits`.

    Each use makes the best result so far more optimistic. Selections of earlier releases are
    known by digests of files; those files are read to compare their rows.
    """
    digest = splits.description.digests["test"]
    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.{DIGEST_TAG} != ''",
        output_format="list",
    )
    by_digest: dict[str, list[Run]] = {}
    for found in runs:
        by_digest.setdefault(found.data.tags[DIGEST_TAG], []).append(found)
    same = by_digest.pop(digest, [])
    return len(same) + sum(
        len(found) for found in by_digest.values() if _has_test_rows(found[0], splits)
    )


def _has_test_rows(selection: Run, splits: Splits) -> bool:
    """Return whether a selection with another digest, of a file, used the same test rows."""
    ours = splits.description
    try:
        with open_splits(selection.data.tags.get("data_run_id", "")) as other:
            theirs = other.description
            may_be_same = theirs.digest_kind == FILE_DIGESTS and all(
                counts["test"] == our_counts["test"]
                for counts, our_counts in (
                    (theirs.rows, ours.rows),
                    (theirs.positives, ours.positives),
                )
            )
            return may_be_same and digest_of_file(other.test.file) == ours.digests["test"]
    except (ParameterError, MlflowException, OSError):  # deleted since
        return False
