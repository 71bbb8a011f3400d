"""Clusters of processes on this machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h2o
import requests

from serving.model.java import use_java
from steps.runtime.ports import free_port
from tests.support.waiting import wait_until

H2O_JAR = Path(h2o.__file__).parent / "backend" / "bin" / "h2o.jar"


@contextmanager
def background_process(command: list[str], folder: Path, **extra: str) -> Iterator[Path]:
    """Run `command` in `folder`; give the file of its output."""
    file, output = tempfile.mkstemp(".log", dir=folder)
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable} | extra
    started = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
    )
    os.close(file)
    try:
        yield Path(output)
    finally:
        started.terminate()
        started.wait(30)


@contextmanager
def h2o_nodes(folder: Path, count: int) -> Iterator[str]:
    """An H2O cluster of `count` nodes, each a process of its own; give its URL."""
    java = use_java() / "bin" / "java"
    ports = [free_port(successors=1) for _ in range(count)]
    nodes = folder / "nodes"
    nodes.write_text("".join(f"127.0.0.1:{port}\n" for port in ports))
    with ExitStack() as stack:
        for port in ports:
            command = [
                str(java), "-Xmx1g", "--add-opens=java.base/java.lang=ALL-UNNAMED", "-cp",
                str(H2O_JAR), "water.H2OApp", "-ip", "127.0.0.1", "-web_ip", "127.0.0.1", "-port",
                str(port), "-flatfile", str(nodes), "-name", "team", "-ice_root",
                str(folder / str(port)),
            ]  # fmt: skip
            stack.enter_context(background_process(command, folder))
        url = f"http://127.0.0.1:{ports[0]}"
        wait_until(lambda: cluster_size(url) == count, 60)
        yield url


def cluster_size(url: str) -> int:
    """Return the number of nodes, 0 if nothing answers."""
    try:
        return int(requests.get(f"{url}/3/Cloud", timeout=5).json()["cloud_size"])
    except (requests.ConnectionError, requests.Timeout):
        return 0
