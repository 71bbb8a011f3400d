import numpy as np
import pandas as pd
import pytest

pytest_plugins = [
    "tests.support.bad_tables",
    "tests.support.engine_fixtures",
    "tests.support.in_process_steps",
    "tests.support.linear_scorer",
    "tests.support.log_fixtures",
    "tests.support.mixed_model",
    "tests.support.monitoring",
    "tests.support.registry_fixtures",
    "tests.support.score_batch_fixtures",
    "tests.support.service_fixtures",
    "tests.support.tiny_model",
    "tests.support.workflow_fixtures",
]


@pytest.hookimpl(trylast=True)  # after the tests that are not selected were removed
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run quick tests first and short ones last.

    Of the others, the first file runs the workflow of `completed_run`. Files that do not need it
    come next, so that other workers do not wait for it.
    """
    needing_it = [i.path for i in items if "completed_run" in getattr(i, "fixturenames", ())]
    first = next((path for path in needing_it if "system" in path.parts), None)
    files_needing_it = set(needing_it)

    def place(item: pytest.Item) -> tuple[bool, bool, bool, bool]:
        return (
            item.get_closest_marker("quick") is None,
            "system" not in item.path.parts,
            item.path != first,
            item.path in files_needing_it,
        )

    items.sort(key=place)


@pytest.fixture
def table() -> pd.DataFrame:
    """A small table with a time column, two features and repeated positives."""
    random = np.random.default_rng(7)
    rows = 400
    target = (np.arange(rows) % 10 == 0).astype("int64")
    return pd.DataFrame(
        {
            "Time": np.arange(rows, dtype="float64"),
            "V1": random.normal(size=rows) + 2 * target,
            "V2": random.normal(size=rows),
            "Class": target,
        }
    )
