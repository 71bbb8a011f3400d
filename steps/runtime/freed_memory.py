"""Memory that this process has freed, but still holds."""

import ctypes
import sys

import pyarrow as pa


def release_freed_memory() -> None:
    """Return freed memory to the operating system, before something else takes as much.

    Arrow, and the allocator of glibc, keep it for objects of the same kind.
    """
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # musl has none
            trim(0)
