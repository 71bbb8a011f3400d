"""Return of freed memory to the operating system."""

import platform
import subprocess
import sys

import pytest

# About 80 MB each. A last block stays, at the end of the heap.
BLOCKS = {
    "C heap": "[np.ones(1000) for _ in range(10_000)]",
    "Arrow": "[pa.array(np.arange(1000)).cast(pa.float64()) for _ in range(10_000)]",
}


@pytest.mark.quick
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is of glibc")
@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_freed_blocks_are_returned(blocks):
    program = f"""
import numpy as np, psutil, pyarrow as pa
from steps.runtime.memory import release_freed_memory
blocks = {blocks}
del blocks[:-1]
before = psutil.Process().memory_info().rss
release_freed_memory()
print(before - psutil.Process().memory_info().rss)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    )
    assert int(done.stdout) > 60e6
