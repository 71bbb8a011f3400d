"""Return of freed memory to the operating system."""

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np, psutil
from steps.runtime.freed_memory import release_freed_memory
blocks = [np.ones(1000) for _ in range(10_000)]
del blocks[:-1]  # the last one, at the end of the heap, stays
before = psutil.Process().memory_info().rss
release_freed_memory()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.quick
@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc")
def test_freed_blocks_are_returned():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.PIPE, text=True
    )
    assert int(done.stdout) > 60e6
