"""What can go wrong in a run, in words for the person who started it.

PipelineError
 ├─ ParameterError    a parameter's value is not allowed
 ├─ SourceError       the data cannot be fetched or read
 ├─ DataError         the data do not fit; names file, column and rule
 ├─ EngineError       an engine cannot start or gave no model
 ├─ ExportError       a model cannot be turned into a portable scorer
 ├─ RegistryError     the present champion cannot be read
     └─ StepError         a step of the workflow failed
"""


class PipelineError(Exception):
    """Base of all expected errors; its text is one line that says what to do next."""


class ParameterError(PipelineError):
    """A parameter's value is not allowed."""


class SourceError(PipelineError):
    """The data cannot be fetched or read."""


class DataError(PipelineError):
    """The data do not fit."""


class EngineError(PipelineError):
    """An engine cannot start, or gave no model."""


class ExportError(PipelineError):
    """A model cannot be turned into a portable scorer."""


class RegistryError(PipelineError):
    """The present champion cannot be read."""


class StepError(PipelineError):
    """A step of the workflow failed; its own message stands above this one."""
