"""Table and champion for tests of `score_batch`."""

from collections.abc import Iterator

import pandas as pd
import pytest

from steps.batch.champion_scorer import ChampionScorer, load_champion_scorer
from tests.support.project import SAMPLE_FILE
from tests.support.workspaces import tracking_in


@pytest.fixture(scope="module")
def transactions() -> pd.DataFrame:
    """The real sample with the caller's ids; Class and Time are columns like any other."""
    rows = pd.read_parquet(SAMPLE_FILE)
    return rows.assign(id=[f"row-{number}" for number in range(len(rows))])


@pytest.fixture(scope="module")
def batch_champion(workspace, completed_run) -> Iterator[ChampionScorer]:
    with tracking_in(workspace), load_champion_scorer("credit-card-fraud") as champion:
        yield champion
