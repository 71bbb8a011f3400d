"""The cost of scoring with a portable scorer."""

import time

from serving.model.scorer import PortableScorer
from steps.data.splits import Split

ROWS, REPETITIONS = 1000, 3


def seconds_per_row(scorer: PortableScorer, rows: Split) -> float:
    """Return the seconds per row that a scorer takes for a batch.

    The first of `rows` are parsed beforehand and scored several times; the fastest pass counts.
    """
    parsed = scorer.schema.parse_frame(rows.head(ROWS))
    durations = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        scorer.score_rows(parsed)
        durations.append(time.perf_counter() - start)
    return min(durations) / len(parsed)
