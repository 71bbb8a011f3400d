"""Cache keys of steps."""

import shutil

import pytest

from steps.runtime.mlproject import entry_points
from steps.workflow import cache
from tests.support.project import PROJECT

PARAMETERS = {"data": "sample", "target": "Class", "time_column": "Time", "split": "auto"}


@pytest.mark.quick
@pytest.mark.usefixtures("empty_registry")
class TestCacheKey:
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

    @pytest.mark.parametrize("name", ["engines/spark.py", "data/splits.py", "__init__.py"])
    def test_changes_with_own_code(self, project, name):
        assert self.changed("train_spark", project / "steps" / name, data_run_id="1")

    def test_changes_with_imported_serving_code(self, project):
        assert self.changed(
            "train_spark", project / "serving" / "model" / "runtimes.py", data_run_id="1"
        )

    @pytest.mark.parametrize("name", ["engines/h2o.py", "main.py", "selection/promotion.py"])
    def test_ignores_code_of_other_steps(self, project, name):
        assert not self.changed("train_spark", project / "steps" / name, data_run_id="1")

    def test_selection_depends_on_shipped_code(self, project):
        assert self.changed(
            "select_champion", project / "serving" / "pyfunc" / "champion.py", metric="ks"
        )

    def test_changes_with_a_template(self, project):
        template = project / "steps" / "data_page" / "page.html"
        assert self.changed("load_data", template, **PARAMETERS)

    def test_changes_with_requirements(self, project):
        assert self.changed("load_data", project / "requirements.txt", **PARAMETERS)

    @pytest.mark.parametrize("name", list(PARAMETERS)[1:])
    def test_changes_with_each_parameter(self, name):
        other = PARAMETERS | {name: "other"}
        assert cache.cache_key("load_data", PARAMETERS) != cache.cache_key("load_data", other)

    def test_changes_with_entry_point_declaration(self, monkeypatch):
        before = cache.cache_key("load_data", PARAMETERS)
        monkeypatch.setitem(entry_points()["load_data"], "command", "python -m other")
        assert before != cache.cache_key("load_data", PARAMETERS)

    def test_changes_with_content_of_data(self, tmp_path):
        file = tmp_path / "table.csv"
        file.write_text("a,b\n1,2\n")
        before = cache.cache_key("load_data", PARAMETERS | {"data": str(file)})
        assert before is not None
        file.write_text("a,b\n1,3\n")
        assert before != cache.cache_key("load_data", PARAMETERS | {"data": str(file)})

    def test_is_none_for_data_without_fingerprint(self):
        assert cache.cache_key("load_data", PARAMETERS | {"data": "memory://nothing"}) is None

    def test_ignores_cache_parameter(self):
        keys = {cache.cache_key("select_champion", {"cache": value}) for value in ("true", "false")}
        assert len(keys) == 1
