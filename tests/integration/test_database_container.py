"""Health check of the database container, on a real PostgreSQL."""

import re
import subprocess
from urllib.parse import unquote

import pytest
import yaml

from tests.support.project import PROJECT

pytestmark = pytest.mark.quick


def test_postgresql_is_healthy_with_both_databases(postgres, tmp_path):
    """It was healthy without them, where the script that makes them could not be read."""
    folder = re.search(r"host=(\S+)", unquote(postgres.get_uri()))[1]
    program = tmp_path / "psql"
    program.write_text(f'#!/bin/sh\nexec "{postgres.bin_path}/psql" "$@" -h {folder}\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"} | dict.fromkeys(
        ("MLFLOW_PASSWORD", "PREDICTIONS_PASSWORD"), "secret"
    )

    def run(*command):
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text())
    shell, check = compose["services"]["postgres"]["healthcheck"]["test"]
    assert shell == "CMD-SHELL"
    check = check.replace("$$", "$")
    assert run("sh", "-c", check).returncode != 0
    try:
        made = run(PROJECT / "containers" / "databases.sh")
        assert made.returncode == 0, made.stderr
        healthy = run("sh", "-c", check)
        assert healthy.returncode == 0, healthy.stderr
        run("psql", "-U", "postgres", "-c", "DROP DATABASE predictions")
        assert run("sh", "-c", check).returncode != 0
    finally:
        for owner in ("mlflow", "predictions"):
            for kind in ("DATABASE", "ROLE"):
                run("psql", "-U", "postgres", "-c", f"DROP {kind} IF EXISTS {owner}")
