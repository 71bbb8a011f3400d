"""What can go wrong in a run, in words for the person who started it.

PipelineError
 ├─ ParameterError    a parameter's value is not allowed
 ├─ SourceError       the data cannot be fetched or read
 ├─ DataError         the data do not fit; names file, column and rule
 ├─ EngineError       an engine cannot start or gave no model
 ├─ ExportError       a model cannot be turned into a portable scorer
 ├─ TrackingError     the tracking server cannot be reached
 ├─ BusyError         another process does the same
 ├─ RegistryError     the registry cannot be read, or changed meanwhile
 ├─ StepError         a step of the workflow failed
 └─ EngineFailedError the workflow ended without some of its engines
"""


class PipelineError(Exception):
    """Base of all expected errors; its text is one line that says what to do next."""

    exit_status = 1


class ParameterError(PipelineError):
    """A parameter's value is not allowed."""

    exit_status = 2


class SourceError(PipelineError):
    """The data cannot be fetched or read."""


class DataError(PipelineError):
    """The data do not fit."""


class EngineError(PipelineError):
    """An engine cannot start, or gave no model."""


class ExportError(PipelineError):
    """A model cannot be turned into a portable scorer."""


class TrackingError(PipelineError):
    """The tracking server cannot be reached."""


class RegistryError(PipelineError):
    """The registry cannot be read, or another selection changed it meanwhile."""


class BusyError(PipelineError):
    """Another process of this machine does what only one may do at a time."""


class StepError(PipelineError):
    """A step of the workflow failed; its own message stands above this one."""

    def __init__(self, entry_point: str, reason: str = "", run_id: str = "") -> None:
        """Name the step and its run; `reason` is what it noted there, if it could."""
        self.run_id = run_id
        self.reason = reason or "it was killed or could not start; see its output above"
        super().__init__(f"{entry_point} failed: {self.reason}")


class EngineFailedError(PipelineError):
    """The workflow ended with a decision, but without some of its engines."""

    exit_status = 3
