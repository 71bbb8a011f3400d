"""What the classifiers of the full profile gain over those of the quick one.

    make bench ARGS="profiles telescope.csv:Class titanic --seeds 5"

The sizes differ: numbers of trees and learning rates. On each split of a table, the rules of
`benchmarks.classifiers` choose from the quick profile's classifiers, from the full one's, and from
the full profile's boosted trees with the quick profile's others.
"""

import time
from collections.abc import Iterator

import click

from benchmarks.choices import BASELINE, Rows, fitted, judged, report, results_of
from benchmarks.paired_splits import ignore_warnings_of_fits, models_of
from steps.engines.pycaret import value_count

FULL, FULL_BOOSTED = "full", "full boosted trees"
BOOSTED = {"Hist Gradient Boosting", "LightGBM", "Deep LightGBM", "Shallow LightGBM"}


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.option("--seeds", default=5, type=click.IntRange(1), help="Stratified splits of each table.")
@click.option("--rows", default=0, help="Draw so many rows of each table; 0 for all.")
@click.option("--output", default="", help="CSV file for the results of each split.")
def main(tables: tuple[str, ...], seeds: int, rows: int, output: str) -> None:
    """Print test metrics, and their differences with 95 % intervals; and the time of the fits."""
    ignore_warnings_of_fits()

    def compare(of_split: Rows, seed: int) -> Iterator[dict[str, object]]:
        contenders, seconds = {}, {}
        for name, profile in {BASELINE: "quick", FULL: FULL}.items():
            start = time.process_time()
            contenders[name] = fitted(models_of(of_split.training, profile, seed), of_split)
            seconds[name] = time.process_time() - start
        contenders[FULL_BOOSTED] = [
            large if large.name in BOOSTED else small
            for small, large in zip(contenders[BASELINE], contenders[FULL], strict=True)
        ]
        values = value_count(of_split.training)
        for found in judged(contenders, of_split):
            yield found | {"values": values, "seconds": seconds.get(str(found["contender"]))}

    results = results_of(tables, seeds, rows, output, compare)
    click.echo(report(results))
    groups = results.dropna(subset="seconds").groupby(["table", "contender"], sort=False)
    times = groups[["values", "seconds"]].mean().round(1)
    click.echo(f"\nCPU seconds of fitting all classifiers and scoring the validation rows\n{times}")


if __name__ == "__main__":
    main()
