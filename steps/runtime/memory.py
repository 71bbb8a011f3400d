"""Memory that this process has freed, but still holds."""

import ctypes
import sys

import pyarrow as pa


def release_freed_memory() -> None:
    """Return freed memory to the operating system.

    Arrow's pool and the C heap keep freed pages, each for its own later allocations, so that the
    peak of one would add to that of the other.
    """
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # musl has none
            trim(0)
