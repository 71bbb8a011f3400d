"""Interrupts of a step."""

import signal
import subprocess
import sys

import pytest

# The callback of a weak reference: Python drops what is raised in it.
PROGRAM = """
import gc, time, weakref
from steps.runtime.entry_point import handle_interrupts

class Cycle:
    pass

def collected(_):
    print("collected", flush=True)
    time.sleep(30)

handle_interrupts()
cycle = Cycle()
cycle.itself = cycle
reference = weakref.ref(cycle, collected)
del cycle
try:
    gc.collect()
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupt_during_garbage_collection_is_not_lost(number):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "collected\n"
            process.send_signal(number)
            output, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)
