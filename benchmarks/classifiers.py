"""What the classifiers of the PyCaret engine add to each other.

    make bench ARGS="classifiers bank.csv:deposit titanic creditcard --seeds 5"

On each split of a table, three rules choose from the classifiers: the highest KS on the validation
split, the highest ROC AUC there, and the pipeline's ensemble of the best five by KS. What they
choose is refitted on training and validation rows and judged on the test rows. Each group is
compared with all that the engine compares, paired by split: the nine of the first release, all but
one, and all with a retired one. `creditcard` and `--rows` are as in `benchmarks.search`.
"""

from collections.abc import Iterator

import click

from benchmarks.choices import (
    BASELINE,
    Candidate,
    Rows,
    fitted,
    judged,
    report,
    results_of,
)
from benchmarks.paired_splits import ignore_warnings_of_fits, models_of
from steps.engines.pycaret import RETIRED

# Not in the first release.
LATER = {"Deep Extra Trees", "Deep LightGBM", "Shallow LightGBM"}


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.option("--seeds", default=5, type=click.IntRange(1), help="Stratified splits of each table.")
@click.option("--rows", default=0, help="Draw so many rows of each table; 0 for all.")
@click.option("--profile", default="quick", type=click.Choice(["full", "quick"]))
@click.option("--output", default="", help="CSV file for the results of each split.")
def main(tables: tuple[str, ...], seeds: int, rows: int, profile: str, output: str) -> None:
    """Print test metrics, and their differences with 95 % intervals."""
    ignore_warnings_of_fits()

    def compare(of_split: Rows, seed: int) -> Iterator[dict[str, object]]:
        models = models_of(of_split.training, profile, seed, retired=True)
        return judged(contenders(fitted(models, of_split)), of_split)

    click.echo(report(results_of(tables, seeds, rows, output, compare)))


def contenders(candidates: list[Candidate]) -> dict[str, list[Candidate]]:
    """Return groups of the candidates, by name."""
    compared = [each for each in candidates if each.name not in RETIRED]
    groups = {
        BASELINE: compared,
        "first release": [each for each in candidates if each.name not in LATER],
    }
    for left_out in compared:
        others = [each for each in compared if each is not left_out]
        groups[f"without {left_out.name}"] = others
    for retired in candidates:
        if retired.name in RETIRED:
            groups[f"with {retired.name}"] = [*compared, retired]
    return groups


if __name__ == "__main__":
    main()
