"""Models that are no better than chance, and models that are too good to be true."""

import numpy as np
import pandas as pd
import pytest

from tests.support.workspaces import Workspace

PARAMETERS = {"target": "label", "engines": "pycaret", "profile": "quick"}
MODEL = "credit-card-fraud"


@pytest.fixture(scope="module")
def own_workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("suspicious"))


def write_table(workspace: Workspace, name: str, **columns: np.ndarray) -> str:
    """Write noise and random labels, with other columns made from them."""
    random = np.random.default_rng(3)
    noise = {f"x{i}": random.normal(size=600) for i in range(3)}
    label = (random.random(600) < 0.3).astype(int)
    table = pd.DataFrame(noise | {"label": label})
    file = workspace.folder / f"{name}.parquet"
    table.assign(**{column: make(table) for column, make in columns.items()}).to_parquet(file)
    return str(file)


def newest_main(workspace: Workspace):
    return workspace.runs("attributes.run_name = 'main'")[0]


def test_model_of_random_labels_is_not_registered_by_default(own_workspace):
    random_labels = write_table(own_workspace, "random")
    for _ in range(2):  # the second time from the cache
        done = own_workspace.run(data=random_labels, **PARAMETERS)
        assert done.returncode == 0, done.stderr
        assert f"{MODEL} has no champion: it is no better than chance on the test" in done.stderr
        assert "-P promotion=always would register it" in done.stderr
        assert "mlflow models serve" not in done.stderr
        assert not own_workspace.client.search_registered_models()
        tags = newest_main(own_workspace).data.tags
        assert (tags["better_than_chance"], tags["promoted"]) == ("false", "false")
    assert "select_champion: unchanged; reusing run" in done.stderr
    done = own_workspace.run(data=random_labels, promotion="always", **PARAMETERS)
    assert done.returncode == 0, done.stderr
    assert "Warning: the model is no better than chance on the test rows" in done.stderr
    version = own_workspace.client.get_model_version_by_alias(MODEL, "champion")
    assert version.tags["better_than_chance"] == "false"
    assert "Warning: the model is no better than chance" in version.description


def test_perfect_model_names_the_column_that_leaks(own_workspace):
    leaking = write_table(own_workspace, "leaking", refunded=lambda table: table["label"] * 2.0)
    done = own_workspace.run(data=leaking, model_name="leaking", **PARAMETERS)
    assert done.returncode == 0, done.stderr
    assert "Warning: KS is 1.0: column refunded alone separates the classes" in done.stderr
    version = own_workspace.client.get_model_version_by_alias("leaking", "champion")
    assert version.tags["better_than_chance"] == "true"
    assert "column refunded" in version.tags["warning"]
    assert "column refunded" in version.description
