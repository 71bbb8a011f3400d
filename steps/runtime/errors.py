"""Expected errors of a run.

PipelineError
 ├─ ParameterError     invalid parameter
 ├─ SourceError        data that cannot be downloaded or read
 ├─ DataError          data that breaks a rule
 ├─ EngineError        an engine that cannot start or train a model
 ├─ ExportError        a model that cannot be exported to a portable scorer
 ├─ TrackingError      unavailable tracking server
 ├─ BusyError          the same work in another process
 ├─ RegistryError      unreadable registry, or a change by another process
 ├─ StepError          failed step of a workflow
 └─ EngineFailedError  a workflow that completed without some of its engines
"""


class PipelineError(Exception):
    """Base of all expected errors. The message is one line: field, problem, remedy."""

    exit_status = 1


class ParameterError(PipelineError):
    """The value of a parameter is invalid."""

    exit_status = 2


class SourceError(PipelineError):
    """The data cannot be downloaded or read."""


class DataError(PipelineError):
    """The data breaks a rule; the message names file, column and rule."""


class EngineError(PipelineError):
    """An engine cannot start, or trained no model."""


class ExportError(PipelineError):
    """A model cannot be exported to a portable scorer."""


class TrackingError(PipelineError):
    """The tracking server is unavailable."""


class RegistryError(PipelineError):
    """The registry cannot be read, lacks a version, or was changed by another process."""


class BusyError(PipelineError):
    """Another process of this machine does work that excludes this one."""


class StepError(PipelineError):
    """A step of a workflow failed, after it printed its own error."""

    def __init__(self, entry_point: str, reason: str = "", run_id: str = "") -> None:
        """Create the error of a failed step.

        Args:
            entry_point: The step's entry point.
            reason: The tag `error` of its run; empty if it has none.
            run_id: Its run; empty if it has none.
        """
        self.run_id = run_id
        self.reason = reason or "it was killed or could not start; see its output above"
        super().__init__(f"{entry_point} failed: {self.reason}")


class EngineFailedError(PipelineError):
    """A workflow completed without some of its engines."""

    exit_status = 3
