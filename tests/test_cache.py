"""A finished step is reused when it would come out the same, and only then."""

import shutil

import pytest

from steps.pipeline import cache
from steps.pipeline.parameters import entry_points
from tests.conftest import PROJECT, measured, stands

PARAMETERS = {"data": "sample", "target": "Class", "time_column": "Time", "split": "auto"}


@pytest.mark.quick
class TestKey:
    @pytest.fixture
    def project(self, tmp_path, monkeypatch):
        """A copy of the project, which a test may change."""
        for name in ("steps", "serving"):
            shutil.copytree(PROJECT / name, tmp_path / name)
        shutil.copy(PROJECT / "requirements.txt", tmp_path)
        monkeypatch.setattr(cache, "PROJECT", tmp_path)
        return tmp_path

    def changed(self, entry_point, file, **parameters):
        before = cache.cache_key(entry_point, parameters)
        assert before == cache.cache_key(entry_point, parameters)
        with file.open("a") as text:
            text.write("\n# changed\n")
        return before != cache.cache_key(entry_point, parameters)

    @pytest.mark.parametrize("name", ["train_spark.py", "pipeline/splits.py", "__init__.py"])
    def test_its_code(self, project, name):
        assert self.changed("train_spark", project / "steps" / name, data_run_id="1")

    def test_code_that_it_imports_from_serving(self, project):
        assert self.changed("train_spark", project / "serving" / "graphs.py", data_run_id="1")

    @pytest.mark.parametrize("name", ["train_h2o.py", "main.py", "pipeline/promotion.py"])
    def test_code_of_others_is_no_change(self, project, name):
        assert not self.changed("train_spark", project / "steps" / name, data_run_id="1")

    def test_what_a_champion_ships_counts_for_its_selection(self, project):
        assert self.changed("select_champion", project / "serving" / "champion.py", metric="ks")

    def test_the_lock(self, project):
        assert self.changed("load_data", project / "requirements.txt", **PARAMETERS)

    @pytest.mark.parametrize("name", list(PARAMETERS)[1:])
    def test_each_parameter(self, name):
        other = PARAMETERS | {name: "other"}
        assert cache.cache_key("load_data", PARAMETERS) != cache.cache_key("load_data", other)

    def test_its_declaration(self, monkeypatch):
        before = cache.cache_key("load_data", PARAMETERS)
        monkeypatch.setitem(entry_points()["load_data"], "command", "python -m other")
        assert before != cache.cache_key("load_data", PARAMETERS)

    def test_the_content_of_the_data(self, tmp_path):
        file = tmp_path / "table.csv"
        file.write_text("a,b\n1,2\n")
        before = cache.cache_key("load_data", PARAMETERS | {"data": str(file)})
        assert before is not None
        file.write_text("a,b\n1,3\n")
        assert before != cache.cache_key("load_data", PARAMETERS | {"data": str(file)})

    def test_data_that_cannot_tell_is_never_taken_as_unchanged(self):
        assert cache.cache_key("load_data", PARAMETERS | {"data": "memory://nothing"}) is None

    def test_whether_to_reuse_is_no_part_of_the_result(self):
        keys = {cache.cache_key("select_champion", {"cache": value}) for value in ("true", "false")}
        assert len(keys) == 1


def test_an_unchanged_second_run_reuses_every_step(workspace, main_run, steps):
    done = workspace.run(data="sample", profile="quick")
    assert done.returncode == 0, done.stderr
    assert stands(done.stderr) == set(steps)
    assert "credit-card-fraud version 1 is the new champion" in done.stderr
    newest = workspace.runs("attributes.run_name = 'main'")[0]
    assert newest.info.run_id != main_run.info.run_id
    assert set(newest.data.tags["reused"].split(",")) == set(steps)
    assert measured(newest) == measured(main_run)
    assert not workspace.children(newest.info.run_id)


def test_another_champion_is_a_changed_input_of_the_selection_alone(workspace, main_run, steps):
    client, name = workspace.client, "credit-card-fraud"
    version = client.get_model_version_by_alias(name, "champion").version
    client.delete_registered_model_alias(name, "champion")
    try:
        done = workspace.run(data="sample", profile="quick")
        assert done.returncode == 0, done.stderr
        assert stands(done.stderr) >= set(steps) - {"select_champion"}
        assert "it is the first champion of this name" in done.stderr
    finally:
        new = client.get_model_version_by_alias(name, "champion").version
        client.set_registered_model_alias(name, "champion", version)
        client.transition_model_version_stage(name, version, "Production")
        if new != version:
            client.delete_model_version(name, new)


def test_cache_false_reuses_nothing(workspace, steps):
    done = workspace.run(
        data="sample",
        profile="quick",
        engines="h2o",
        h2o_url="http://127.0.0.1:9",
        cache="false",
    )
    assert done.returncode != 0, "there is no such engine, so that it ends soon"
    assert not stands(done.stderr)
    (newest, *_) = workspace.runs("attributes.run_name = 'load_data'")
    assert newest.info.run_id != steps["load_data"].info.run_id
