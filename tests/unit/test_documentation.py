"""Commands, links and generated tables of the documentation."""

import pytest

from tests.support import generated_files
from tests.support.documentation import PAGES, anchors, command, commands, links
from tests.support.project import PROJECT

pytestmark = pytest.mark.quick


def test_every_documented_command_has_a_test():
    """A new command needs an entry here: the test that runs it, or the reason that none does."""
    no_container_engine = "no test: needs a container engine and the whole environment"
    example_engine = "test_add_an_engine"
    covered_by = {
        "make run": "test_fresh_clone",
        "make serve": "test_fresh_clone",
        'make run ARGS="-P data=sample -P profile=quick"': "test_fresh_clone",
        'make run ARGS="-P threshold=cost=500:10"': "test_threshold",
        "make ui": "test_fresh_clone",
        "make demo": "test_demo",
        'make demo ARGS="-P clean=true"': "test_demo",
        "mlflow run .": "no test: needs conda; test_environments uses uv",
        "mlflow run . --env-manager uv -P data=sample -P profile=quick": "test_environments",
        command("mlflow run . -P data=transactions.parquet"): "test_other_tables",
        'make run ARGS="-P data=bank.csv -P target=deposit -P model_name=bank"': "test_own_tables",
        "MLPIPES_MODEL_URI=models:/bank@champion make serve": "test_own_tables",
        command("head -n 1000 bank.csv | curl 127.0.0.1:5001/invocations"): "test_own_tables",
        "mlflow run . -e monitor -P model_name=bank": "test_own_tables",
        "mlflow run . -e load_data -P data=sample": "test_environments",
        "mlflow run . -e train_spark -P data_run_id=RUN_ID -P profile=quick": "test_processes",
        "mlflow run . -P engines=lightgbm,spark": example_engine,
        command("mlflow run . --env-manager local"): example_engine,
        command("mlflow models serve"): "test_documented_commands",
        command("curl 127.0.0.1:5001/predict "): "test_documented_commands",
        command("curl 127.0.0.1:5001/feedback"): "test_documented_commands",
        command("curl 127.0.0.1:5001/predictions"): "test_documented_commands",
        command("curl 127.0.0.1:5002"): "test_documented_commands",
        command(".venv/bin/python -c"): "test_documented_commands",
        command("mlflow run . -e export_predictions -P output=pred"): "test_export_and_purge",
        command("mlflow run . -e export_predictions -P output=may"): "test_export_and_purge",
        command("mlflow run . -e purge_predictions"): "test_export_and_purge",
        "mlflow run . -e monitor": "test_monitor",
        "mlflow run . -e monitor -P since=2026-05-01 -P until=2026-06-01": "test_monitor",
        "mlflow run . -e rollback": "test_promotion",
        command("mlflow run . -e score_batch -P input=transactions"): "test_score_batch",
        command("mlflow run . -e score_batch -P input='/data"): "test_score_batch",
        "make env": "test_containers",
        "make containers": no_container_engine,
        "docker compose run --rm pipeline -P data=sample -P profile=quick": no_container_engine,
        "docker compose run --rm pipeline -e monitor": no_container_engine,
        command("docker compose run --rm pipeline -e export"): no_container_engine,
        "make lint": ".ci/run",
        "make test": ".ci/run",
        'make test ARGS="-m quick"': "test_fresh_clone",
    }
    assert commands() == set(covered_by)
    modules = {file.stem for file in (PROJECT / "tests").rglob("test_*.py")} | {".ci/run"}
    assert {by for by in covered_by.values() if not by.startswith("no test: ")} <= modules


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme():
    readme = PAGES[0]
    linked = {(readme.parent / link).resolve() for link in links(readme) if "://" not in link}
    assert set(PAGES[1:]) <= linked


@pytest.mark.parametrize("file", generated_files.GENERATED)
def test_generated_files_are_current(file):
    current = (PROJECT / file).read_text()
    assert current == generated_files.generate(file), "run: python -m tests.support.generated_files"
