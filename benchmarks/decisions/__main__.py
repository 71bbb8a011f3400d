"""The tables of docs/decisions.md.

python -m benchmarks.decisions
python -m benchmarks.decisions promotion intervals
"""

import argparse
import logging

from benchmarks.decisions import degradation, drift, intervals, promotion

TABLES = {
    "promotion": promotion.table,
    "degradation": degradation.table,
    "floor": degradation.table_by_rows,
    "intervals": intervals.table,
    "drift": drift.table,
    "levels": drift.table_of_levels,
}


def main() -> None:
    """Print the tables that were asked for, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    logging.basicConfig(level=logging.WARNING)
    for name in parser.parse_args().tables or TABLES:
        print(f"\n{name}\n\n{TABLES[name]().round(4).to_string()}", flush=True)


if __name__ == "__main__":
    main()
