"""The H2O server: a local one on loopback that ends with the step, or a given cluster."""

import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from math import ceil
from pathlib import Path
from typing import Any

import h2o
import psutil
from h2o.exceptions import H2OConnectionError, H2OError

from serving.errors import one_line
from serving.model.java import use_java
from steps.engines.h2o_cluster import h2o_cluster
from steps.runtime.errors import EngineError
from steps.runtime.ports import START_ATTEMPTS, free_port
from steps.runtime.processes import supervised_process
from steps.runtime.step_log import add_output

# A proxy is bypassed for loopback; see `serving.loopback`.
warnings.filterwarnings("ignore", "Proxy is defined in the environment", UserWarning)

START_SECONDS = 60
# From a broken connection to the end of the server that caused it.
END_SECONDS = 2
OUTPUT_FILE = "h2o.log"
PORTS_TAKEN = "required ports"  # part of H2O's message
# The client raises a failed job as a plain OSError whose message begins like this.
FAILED_JOB = "Job with key "


@contextmanager
def h2o_server(url: str, cells: int = 0) -> Iterator[None]:
    """Connect to the H2O cluster at `url`, or to a local server that ends on exit.

    Args:
        url: The URL of a cluster; empty for a local server.
        cells: The number of values that a local server will hold, rows times columns; 0 if few.

    Raises:
        EngineError: The cluster is unreachable or of another version, the local server does not
            start, or either fails.
    """
    try:
        with h2o_cluster(url) if url else _local_server(_memory_gb(cells)):
            yield
    except (H2OError, OSError) as error:
        if not isinstance(error, H2OError) and not str(error).startswith(FAILED_JOB):
            raise  # an error of a file or of the tracking store
        raise EngineError(f"H2O failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the message of an error in one line; that of H2O's response if it has one."""
    response = error.args[0] if error.args else None
    message = getattr(response, "msg", "")  # the first line of its text names a Java class
    return one_line(EngineError(message) if message else error)


@contextmanager
def _local_server(memory_gb: int) -> Iterator[None]:
    """Run H2O on loopback only; `h2o.init` would open two UDP sockets on all addresses."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ml-pipes-h2o-")))
        stack.callback(add_output, folder / OUTPUT_FILE)
        process = _start(stack, folder, memory_gb)
        try:
            with _failing_at_once_without(process, folder / OUTPUT_FILE):
                yield
        finally:
            h2o.connection().close()  # else the client does it at exit, after the server has ended


def _start(stack: ExitStack, folder: Path, memory_gb: int) -> subprocess.Popen[bytes]:
    """Start a server that ends with `stack`, and connect to it.

    Raises:
        EngineError: It did not start.
    """
    output = folder / OUTPUT_FILE
    attempts = START_ATTEMPTS
    while True:
        attempts -= 1
        port = free_port(successors=1)  # H2O takes both
        process = stack.enter_context(supervised_process(_command(folder, port, memory_gb), output))
        try:
            _wait_until_connected(process, port, output)
        except EngineError:
            if attempts and PORTS_TAKEN in output.read_text(errors="replace"):
                continue
            raise
        return process


@contextmanager
def _failing_at_once_without(process: subprocess.Popen[bytes], output: Path) -> Iterator[None]:
    """Make each request fail for good once the server has ended: the client retries for minutes."""
    connection: Any = h2o.connection()
    send = connection.request

    def send_or_fail(*arguments: Any, **options: Any) -> Any:
        try:
            return send(*arguments, **options)
        except (H2OConnectionError, OSError) as error:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
                raise EngineError(
                    f"the H2O server ended unexpectedly: {_last_message(output)}"
                ) from error
            raise

    connection.request = send_or_fail
    try:
        yield
    finally:
        del connection.request


def _command(folder: Path, port: int, memory_gb: int) -> list[str]:
    """Return the command of a one-node cluster that writes only into `folder`."""
    flatfile = folder / "flatfile"
    flatfile.write_text(f"127.0.0.1:{port}\n")
    return [
        str(use_java() / "bin" / "java"),
        f"-Xmx{memory_gb}g",
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        f"-Djava.io.tmpdir={folder}",
        "-Dsys.ai.h2o.automl.algo_parameters.all.enabled=true",  # else few are accepted
        "-cp", str(Path(h2o.__file__).parent / "backend" / "bin" / "h2o.jar"), "water.H2OApp",
        "-ip", "127.0.0.1", "-web_ip", "127.0.0.1", "-port", str(port),
        "-flatfile", str(flatfile), "-name", f"ml-pipes-{os.getpid()}",
        "-ice_root", folder.as_uri(),  # a path with a blank would be refused
    ]  # fmt: skip


def _wait_until_connected(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with redirect_stdout(None):  # the client advises to install a newer H2O
                h2o.connect(url=f"http://127.0.0.1:{port}", verbose=False)
        except (H2OError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"H2O did not start: {_last_message(output)}") from error
            time.sleep(0.2)
        else:
            return


def _last_message(output: Path) -> str:
    """Return the last error in a server's log, or else its last line."""
    lines = output.read_text(errors="replace").strip().splitlines()
    errors = [line for line in lines if "OutOfMemory" in line or "ERRR" in line]
    return (errors or lines or ["its log is empty"])[-1].strip()


def _memory_gb(cells: int) -> int:
    """Return the heap for `cells` values of 8 bytes, in GB.

    It is a fifth of the machine's memory up to 4 GB, or more for large data: four times its
    size, up to 60 % of the machine's memory.
    """
    machine = psutil.virtual_memory().total / 1e9
    usual = max(1, min(4, round(machine / 5)))
    return max(usual, min(ceil(4 * 8 * cells / 1e9), int(0.6 * machine)))
