"""A process that predicts until it is killed: `python -m tests.support.log_writer`.

It appends a line to the file ANSWERED for each prediction that the log has confirmed.
"""

import itertools
import os
import resource
import signal
import sys
import threading
from dataclasses import replace

from serving.errors import LogUnavailableError
from serving.log.prediction_log import PredictionLog
from tests.support.log_fixtures import MODEL, prediction_rows

THREADS = 8


def main(uri: str, answered: str, largest_file: str = "0") -> None:
    log = PredictionLog(uri)
    if int(largest_file):  # from here on as on a full disk, for the log and its spool
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), int(largest_file)))
    lines = os.open(answered, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def predict(thread: int) -> None:
        for number in itertools.count():
            sent = [
                replace(row, entity_id=f"{os.getpid()}-{thread}-{number}-{row.row_index}")
                for row in prediction_rows(5)
            ]
            try:
                answer = log.record(sent, MODEL, "test")
            except LogUnavailableError as error:
                print(error, flush=True)
                return
            os.write(lines, "".join(f"{row.prediction_id}\n" for row in answer).encode())

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
