"""What a step prints on a real terminal, and what it does not."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable

import mlflow
import pytest

from tests.support.project import PROJECT
from tests.support.workspaces import Workspace, tracking_in

STEP = '''
import logging, os, subprocess, sys, time
from steps.runtime.entry_point import step
from steps.runtime.errors import EngineError
from steps.runtime.live_line import working
from steps.runtime.progress import progress
from steps.runtime.step_log import terminal_for_child

CHILD = """
import sys
from steps.runtime.live_line import erasure
print(f"{erasure()}said by a child", file=sys.stderr)
"""

@step
def train_slowly() -> None:
    print("said by Python")
    os.system("echo said by a library >&2")
    logging.getLogger("mlflow.tracking").info("said by MLflow")
    logging.getLogger("mlflow.tracking").warning("a warning of MLflow")
    with progress("fitting"):
        with working("starting", "refit"), terminal_for_child():
            time.sleep(0.4)
            subprocess.run([sys.executable, "-c", CHILD], check=True)
        time.sleep(SECONDS)
    os.system("echo postgresql://me:pw@db/x; echo said at the end >&2")
    if os.environ.get("FAIL") == "expected":
        raise EngineError("it does not work")
    if os.environ.get("FAIL"):
        raise ZeroDivisionError("a bug")

train_slowly()
'''
ERASE = "\r\x1b[K"


class Terminal:
    """A pseudo-terminal with a step on it."""

    def __init__(self, workspace: Workspace, seconds: float, **environment: str) -> None:
        master, slave = pty.openpty()
        for name in ("CI", "NO_COLOR"):
            environment.setdefault(name, "")
        self.process = subprocess.Popen(
            [sys.executable, "-c", STEP.replace("SECONDS", str(seconds))],
            cwd=workspace.folder,
            env=workspace.environment(PYTHONPATH=str(PROJECT), **({"TERM": "xterm"} | environment)),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=lambda: os.login_tty(0),
        )
        os.close(slave)
        self._master = master
        self.output = ""

    def read_until(self, done: Callable[[str], object], seconds: float = 60) -> str:
        """Read until `done` returns something true of the output, or the terminal is closed."""
        deadline = time.monotonic() + seconds
        while not done(self.output):
            assert time.monotonic() < deadline, self.output
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    data = os.read(self._master, 65536)
                except OSError:  # the other side is closed
                    break
                self.output += data.decode()
        return self.output

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("terminal"))


@pytest.fixture
def terminal(place, request):
    opened = Terminal(place, **request.param)
    yield opened
    opened.close()


def screen(output: str) -> list[str]:
    """Return the lines that stay on the terminal, where a line is only ever erased as a whole."""
    lines = output.replace("\r\n", "\n").split("\n")
    return [line.rpartition(ERASE)[2] for line in lines]


def drawn(output: str) -> list[str]:
    """Return what was drawn as live line."""
    return re.findall(r"\r\x1b\[K(\w+  \d+:\d\d  [^\r\n]*)", output)


def step_log(workspace: Workspace) -> str:
    run, *_ = workspace.runs()
    with tracking_in(workspace):
        return mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/step.log")


@pytest.mark.parametrize("terminal", [{"seconds": 0.5}], indirect=True)
def test_live_line_shows_work_and_disappears(terminal, place):
    output = terminal.read_until(lambda _: False)
    assert terminal.process.wait(30) == 0, output
    shown = drawn(output)
    assert any(line.startswith("refit  0:00  starting") for line in shown)
    assert re.search(r"train_slowly  0:0\d  fitting", "\n".join(shown))
    left = screen(output)
    assert left[-1] == ""
    assert [line for line in left if "  0:0" in line] == []
    assert "fitting ..." in left
    assert "said by a child" in left
    assert "a warning of MLflow" in left
    assert "\x1b[?25l" not in output
    assert "said by Python" not in output
    log = step_log(place)
    for text in ("said by Python", "said by a library", "said by MLflow", "said at the end"):
        assert text in log
    assert "postgresql://me:***@db/x" in log


@pytest.mark.parametrize("terminal", [{"seconds": 60}], indirect=True)
def test_ctrl_c_leaves_terminal_clean(terminal, place):
    terminal.read_until(lambda output: re.search(r"train_slowly  0:\d\d  fitting", output))
    terminal.press_ctrl_c()
    output = terminal.read_until(lambda _: False)
    assert terminal.process.wait(30) == 130, output
    assert screen(output)[-2:] == ["ml-pipes: train_slowly: interrupted", ""]
    assert drawn(output.partition("interrupted")[2]) == []
    assert "said by a library" in step_log(place)


@pytest.mark.parametrize(
    "terminal",
    [
        {"seconds": 0, "NO_COLOR": "1", "FAIL": "expected"},
        {"seconds": 0, "CI": "true", "FAIL": "1"},
    ],
    indirect=True,
)
def test_failure_names_the_log(terminal, place):
    output = terminal.read_until(lambda _: False)
    assert terminal.process.wait(30) == 1
    assert "\x1b" not in output
    run, *_ = place.runs()
    assert f"  more in the artifact step.log of run {run.info.run_id}\r\n" in output
    unexpected = "a bug" in output
    assert ("Traceback" in output) == ("Traceback" in step_log(place)) == unexpected
    assert unexpected or "ml-pipes: train_slowly: it does not work\r\n" in output
