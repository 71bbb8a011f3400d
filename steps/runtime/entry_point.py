"""The frame of every step: its command line, its MLflow run, and its exit status."""

import errno
import functools
import gc
import inspect
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
import mlflow
from mlflow.entities import Run, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from serving.errors import ServingError
from steps import STARTED_BY
from steps.runtime.errors import (
    EngineFailedError,
    ParameterError,
    PipelineError,
    StepError,
    TrackingError,
)
from steps.runtime.interrupts import INTERRUPTED_STATUS, ignore_interrupts, mark_killed_later
from steps.runtime.live_line import live_line, working
from steps.runtime.logged_parameters import log_long_parameters
from steps.runtime.parameters import PARAMETERS
from steps.runtime.progress import seconds_as_metrics
from steps.runtime.step_log import (
    ARTIFACT,
    add_traceback,
    capturing,
    log_to_terminal,
    record_log,
    say,
)

# The time of the interrupt; empty without one.
interrupted_at: list[float] = []

CONNECT_SECONDS = 10
RETRY_SECONDS = 0.05  # until an interrupt that was dropped is sent again
REPORTED_BEFORE = (StepError, EngineFailedError)
# Messages of Java, SQLite and PostgreSQL.
DISK_FULL_MESSAGES = (
    "No space left on device",
    "database or disk is full",
    "could not extend file",
)


def step(function: Callable[..., None]) -> Callable[[], None]:
    """Turn `function` into an entry point that reads its arguments from the command line.

    Each argument is a parameter of the same name in `MLproject`, which holds the defaults. The
    function runs inside an MLflow run. An expected error exits with one line on stderr, the tag
    `error` on the run, and status 1 (2 for an invalid parameter).
    """
    title = function.__name__

    @functools.wraps(function)
    def entry_point() -> None:
        log_to_terminal()
        launched = "MLFLOW_RUN_ID" in os.environ
        if launched:  # the step must not outlive MLflow, which started it
            threading.Thread(target=_exit_with, args=(STARTED_BY,), daemon=True).start()
        try:
            check_tracking_server()
        except TrackingError as error:
            say(f"ml-pipes: {title}: {error}")
            sys.exit(error.exit_status)
        # Imported modules stay: exclude them from the many collections that PyCaret requests.
        gc.freeze()
        gc.enable()
        _run(function, title, launched)

    return entry_point


def _run(function: Callable[..., None], title: str, launched: bool) -> None:
    """Call `function` inside an MLflow run, and record how it ends.

    Args:
        function: The step.
        title: Its entry point.
        launched: Whether MLflow started this process and created the run.
    """
    run = mlflow.start_run(run_name=title)
    status = RunStatus.FAILED
    # Until here, interrupts are handled as during imports.
    handle_interrupts()
    try:
        # Inside the run: an invalid parameter marks the run that MLflow created as failed.
        names = list(inspect.signature(function).parameters)
        values = parse(names, sys.argv[1:], title, function.__doc__)
        log_long_parameters(sys.argv[1:])
        with live_line(), working("", title), capturing(run.info.run_id):
            function(**values)
        status = RunStatus.FINISHED
    except (Exception, KeyboardInterrupt) as error:
        if not interrupted_at:  # libraries raise errors of their own on an interrupt
            _fail(title, error, run.info.run_id)
        status = RunStatus.KILLED
        if launched and MLFLOW_PARENT_RUN_ID not in run.data.tags:
            mark_killed_later(run.info.run_id)
        _try_to_record(_mark_child_runs_killed, run)
        say(f"ml-pipes: {title}: interrupted")
    finally:
        _try_to_record(record_log, run.info.run_id)
        _try_to_record(mlflow.log_metrics, seconds_as_metrics())
        _try_to_record(mlflow.end_run, RunStatus.to_string(status))
    if status == RunStatus.KILLED:
        # A normal exit would wait forever for a thread whose start was interrupted.
        sys.stdout.flush()
        os._exit(INTERRUPTED_STATUS)


def parse(names: list[str], arguments: list[str], title: str, help_: str | None) -> dict[str, Any]:
    """Return the values of the parameters `names` from the command line `arguments`.

    Raises:
        ParameterError: A value is invalid or missing.
    """
    options = [
        click.Option(
            [f"--{name}"], type=PARAMETERS[name].type, help=PARAMETERS[name].help, required=True
        )
        for name in names
    ]
    command = click.Command(f"mlflow run . -e {title}", params=list(options), help=help_)
    try:
        context = command.make_context(command.name, list(arguments))
    except click.exceptions.Exit as help_shown:
        sys.exit(help_shown.exit_code)
    except click.UsageError as error:
        raise ParameterError(" ".join(error.format_message().split())) from None
    return context.params


def check_tracking_server() -> None:
    """Connect to the tracking server, for which MLflow itself would retry for minutes.

    Raises:
        TrackingError: It is unavailable.
    """
    uri = mlflow.get_tracking_uri()
    address = urlsplit(uri)
    try:
        if address.scheme in ("http", "https"):
            port = address.port or {"http": 80, "https": 443}[address.scheme]
            socket.create_connection((address.hostname or "", port), CONNECT_SECONDS).close()
        mlflow.MlflowClient()
    except (OSError, ValueError, MlflowException) as error:
        # The URI may hold a password, and the error may quote the URI.
        shown = re.sub("//.*@", "//***@", uri)
        reason = " ".join(str(error).replace(uri, shown).split())
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: no tracking server at {shown}: {reason}"
        ) from error


def _fail(title: str, error: BaseException, run_id: str) -> NoReturn:
    """Tag the run with the error, and exit; an unexpected error is raised with its traceback."""
    reason = _expected_message(error)
    _try_to_record(mlflow.set_tag, "error", reason or f"{type(error).__name__}: {error}")
    if reason is not None:
        say(f"ml-pipes: {title}: {reason}")
    else:
        _try_to_record(add_traceback, run_id, error)
    # The step that a workflow failed with has named its own log.
    if _try_to_record(record_log, run_id) and not isinstance(error, REPORTED_BEFORE):
        say(f"  more in the artifact {ARTIFACT} of run {run_id}")
    if reason is None:
        raise error
    sys.exit(error.exit_status if isinstance(error, PipelineError) else 1)


def _expected_message(error: BaseException) -> str | None:
    """Return the message of an expected error; None for an unexpected one."""
    cause: BaseException | None = error
    while cause is not None:
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(message in str(cause) for message in DISK_FULL_MESSAGES):
            return "the disk is full: free some space and run again; finished steps are reused"
        hidden = cause.__suppress_context__
        cause = cause.__cause__ or (None if hidden else cause.__context__)
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, or use a machine with more memory"
    return str(error) if isinstance(error, (PipelineError, ServingError)) else None


def _try_to_record(record: Callable[..., Any], *arguments: Any) -> Any:
    """Call an MLflow function; print its error, which must not hide the end of the step."""
    try:
        return record(*arguments)
    except (MlflowException, OSError) as error:
        say(f"ml-pipes: cannot write to the tracking store: {error}")
        return None


def _mark_child_runs_killed(run: Run) -> None:
    """Mark the child runs that the interrupt ended, which MLflow marks as FAILED."""
    client = mlflow.MlflowClient()
    children = client.search_runs(
        [run.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and attributes.status = 'FAILED' and "
        f"attributes.end_time >= {int(interrupted_at[0] * 1000)}",
    )
    for child in children:
        client.set_terminated(child.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def _exit_with(parent: int) -> None:
    """Interrupt this step when the process `parent` has ended, even by SIGKILL."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def handle_interrupts() -> None:
    """Raise KeyboardInterrupt on the first SIGTERM or SIGINT."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = functools.partial(_interrupt_again, sys.unraisablehook)


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt on SIGTERM as on Ctrl-C, so each `finally` block runs.

    Later signals are ignored: MLflow and the terminal may both send one, and the second would
    interrupt the cleanup.
    """
    interrupted_at.append(time.time())
    ignore_interrupts()
    raise KeyboardInterrupt


def _interrupt_again(
    otherwise: "Callable[[sys.UnraisableHookArgs], Any]", dropped: "sys.UnraisableHookArgs"
) -> None:
    """Send another signal if Python dropped a KeyboardInterrupt; else call the hook `otherwise`.

    Python drops what is raised in a destructor, or in a callback of the garbage collection.
    """
    if dropped.exc_type is not KeyboardInterrupt:
        otherwise(dropped)
        return
    signal.signal(signal.SIGTERM, _interrupt)
    # Raised here, it would be dropped as well.
    threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), signal.SIGTERM)).start()
