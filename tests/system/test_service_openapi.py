"""The service against its OpenAPI document."""

import subprocess
import sys
from pathlib import Path

import pytest

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance",
)  # fmt: skip


@pytest.mark.parametrize(
    "examples",
    [15, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_answers_conform_to_openapi(shared_service, tmp_path, examples):
    options = ("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing")
    done = subprocess.run(
        [SCHEMATHESIS, "run", f"{shared_service.url}/openapi.json", *options, "-n", str(examples)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
