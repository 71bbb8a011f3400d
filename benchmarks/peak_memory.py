"""Peak memory of a process with all processes below it."""

import os
import threading

import psutil

SECONDS = 0.2


class PeakMemory:
    """The largest memory (PSS) of a process and its descendants while the context is open.

    Attributes:
        bytes: that memory, so far.
    """

    def __init__(self, pid: int | None = None) -> None:
        """Watch the process `pid`; by default, this one."""
        self._root = psutil.Process(pid or os.getpid())
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.bytes = 0

    def __enter__(self) -> "PeakMemory":
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._done.wait(SECONDS):
            try:
                processes = [self._root, *self._root.children(recursive=True)]
                memory = sum(process.memory_full_info().pss for process in processes)
            except psutil.Error:  # one has ended
                continue
            self.bytes = max(self.bytes, memory)
