"""Numbers of rows of the log, counted up to a limit."""

import time

import sqlalchemy as sa

from serving.log.database.schema import ground_truth, predictions
from serving.log.queries import Counts, count_rows

# A table that has reached the limit is not counted again for so long.
FULL_SECONDS = 60.0


class RowCounter:
    """Counts rows; shared by threads.

    Counting takes milliseconds for each 10,000 rows. Only a purge makes a table smaller: one with
    more rows than are counted keeps them for a while.
    """

    def __init__(self) -> None:
        self._full_until: dict[tuple[str, int], float] = {}

    def count(self, connection: sa.Connection, limit: int) -> Counts:
        """Count the first `limit` predictions of the log, and as many labels."""
        return Counts(
            *(self._count(connection, table, limit) for table in (predictions, ground_truth))
        )

    def _count(self, connection: sa.Connection, table: sa.Table, limit: int) -> int:
        if time.monotonic() < self._full_until.get((table.name, limit), 0.0):
            return limit
        count = count_rows(connection, table, limit)
        if count == limit:
            self._full_until[table.name, limit] = time.monotonic() + FULL_SECONDS
        return count
