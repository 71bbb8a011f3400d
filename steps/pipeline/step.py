"""What surrounds every step: its command line, its MLflow run, and how it ends."""

import errno
import functools
import gc
import inspect
import logging
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
from steps.pipeline.errors import ParameterError, PipelineError, TrackingError
from steps.pipeline.killed import mark_killed_later
from steps.pipeline.parameters import PARAMETERS
from steps.pipeline.progress import seconds_as_metrics

log = logging.getLogger("ml-pipes")
# When this process was interrupted, if it was.
interrupted_at: list[float] = []

CONNECT_SECONDS = 10
# As Java, SQLite and PostgreSQL say it.
DISK_FULL = ("No space left on device", "database or disk is full", "could not extend file")


def step(function: Callable[..., None]) -> Callable[[], None]:
    """Turn `function` into an entry point that takes its parameters from the command line.

    The names of its arguments are those of `MLproject`; none has a default here. The body
    runs inside the step's MLflow run. An expected error ends it with one line on stderr, a
    tag `error` on the run and exit status 1 (2 for a wrong parameter).
    """
    names = list(inspect.signature(function).parameters)
    title = function.__name__

    @functools.wraps(function)
    def entry_point() -> None:
        # PyCaret catches what is written to file descriptor 2 while it fits: use a copy of it.
        errors = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
        logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=errors)
        log.setLevel(logging.INFO)
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)
        launched = "MLFLOW_RUN_ID" in os.environ
        if launched:  # MLflow started this step, and shall outlive it
            threading.Thread(target=_end_with, args=(STARTED_BY,), daemon=True).start()
        try:
            check_tracking_server()
        except TrackingError as error:
            print(f"ml-pipes: {title}: {error}", file=sys.stderr)
            sys.exit(error.exit_status)
        # What was imported stays: no collection need look through it (PyCaret asks for many).
        gc.freeze()
        gc.enable()
        run = mlflow.start_run(run_name=title)
        status = RunStatus.FAILED
        try:
            # Inside the run, so that a wrong parameter marks the run that MLflow made as failed.
            function(**parse(names, sys.argv[1:], title, function.__doc__))
            status = RunStatus.FINISHED
        except (Exception, KeyboardInterrupt) as error:
            if not interrupted_at:  # libraries turn an interrupt into errors of their own
                _fail(title, error)
            status = RunStatus.KILLED
            if launched and MLFLOW_PARENT_RUN_ID not in run.data.tags:
                mark_killed_later(run.info.run_id)
            _at_the_end(_mark_runs_below_killed, run)
            print(f"ml-pipes: {title}: interrupted", file=sys.stderr)
        finally:
            _at_the_end(mlflow.log_metrics, seconds_as_metrics())
            _at_the_end(mlflow.end_run, RunStatus.to_string(status))
        if status == RunStatus.KILLED:
            # Python's own end would wait for ever for a thread whose start was interrupted.
            sys.stdout.flush()
            os._exit(130)

    return entry_point


def parse(names: list[str], arguments: list[str], title: str, help_: str | None) -> dict[str, Any]:
    """Return the checked values of the parameters `names` from command line `arguments`.

    Raises:
        ParameterError: a value is not allowed, or one is missing.
    """
    options = [
        click.Option(
            [f"--{name}"], type=PARAMETERS[name].type, help=PARAMETERS[name].help, required=True
        )
        for name in names
    ]
    command = click.Command(f"python -m steps.{title}", params=list(options), help=help_)
    try:
        context = command.make_context(command.name, list(arguments))
    except click.exceptions.Exit as wanted_help:
        sys.exit(wanted_help.exit_code)
    except click.UsageError as error:
        raise ParameterError(" ".join(error.format_message().split())) from None
    return context.params


def check_tracking_server() -> None:
    """Look whether the tracking server answers: MLflow itself would try for minutes.

    Raises:
        TrackingError: it does not.
    """
    uri = mlflow.get_tracking_uri()
    address = urlsplit(uri)
    try:
        if address.scheme in ("http", "https"):
            port = address.port or {"http": 80, "https": 443}[address.scheme]
            socket.create_connection((address.hostname or "", port), CONNECT_SECONDS).close()
        mlflow.MlflowClient()
    except (OSError, ValueError, MlflowException) as error:
        # A password may be in it, and in what is wrong with it.
        shown = re.sub("//.*@", "//***@", uri)
        reason = " ".join(str(error).replace(uri, shown).split())
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: no tracking server at {shown}: {reason}"
        ) from error


def _fail(title: str, error: BaseException) -> NoReturn:
    """Note why a step failed, and end it: an expected error with one line."""
    reason = _in_words(error)
    _at_the_end(mlflow.set_tag, "error", reason or f"{type(error).__name__}: {error}")
    if reason is None:
        raise error
    print(f"ml-pipes: {title}: {reason}", file=sys.stderr)
    sys.exit(error.exit_status if isinstance(error, PipelineError) else 1)


def _in_words(error: BaseException) -> str | None:
    """Return what an expected error says to a person; None if it is not expected."""
    cause: BaseException | None = error
    while cause is not None:
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(words in str(cause) for words in DISK_FULL):
            return "the disk is full: free some space and run again; finished steps are kept"
        hidden = cause.__suppress_context__
        cause = cause.__cause__ or (None if hidden else cause.__context__)
    if isinstance(error, MemoryError):
        return "not enough memory: close other programs, or take a machine with more"
    return str(error) if isinstance(error, (PipelineError, ServingError)) else None


def _at_the_end(note: Callable[..., Any], *arguments: Any) -> None:
    """Call one of MLflow's functions that shall not hide why the step ended."""
    try:
        note(*arguments)
    except (MlflowException, OSError) as error:
        print(f"ml-pipes: the tracking store cannot be written: {error}", file=sys.stderr)


def _mark_runs_below_killed(run: Run) -> None:
    """Mark what ended below a step by its interrupt: MLflow calls that failed."""
    client = mlflow.MlflowClient()
    below = client.search_runs(
        [run.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and attributes.status = 'FAILED' and "
        f"attributes.end_time >= {int(interrupted_at[0] * 1000)}",
    )
    for one in below:
        client.set_terminated(one.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def _end_with(parent: int) -> None:
    """Interrupt this step when `parent` is gone, even if it was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    """Take SIGTERM like Ctrl-C: unwind the stack, so that every `finally` ends what it started.

    Only once: MLflow and the terminal may both send a signal, and the second would disturb that.
    """
    interrupted_at.append(time.time())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
