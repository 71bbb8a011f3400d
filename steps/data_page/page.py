"""The page as one HTML file: no script, nothing from elsewhere."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from steps.data.splits import Splits, SplitsDescription
from steps.data_page.bins import TRAINING, Bin
from steps.data_page.charts import Histogram, RateAxis, TimeChart, share_axis
from steps.data_page.profiles import ColumnProfile, periods, profile_column
from steps.data_page.sample import MAX_ROWS, SplitsSample
from steps.evaluation.intervals import proportion_interval
from steps.plots.style import MARK, POSITIVE, SPLIT_COLORS

# More pictures would make a page that takes long to open.
MAX_PICTURES = 60


def data_page(splits: Splits) -> str:
    """Return the page about splits."""
    sample = SplitsSample(splits)
    profiles = {f.name: profile_column(f, sample) for f in splits.features}
    description = splits.description
    # Of all rows: a sample may have none of class 1.
    base = description.positives[TRAINING] / description.rows[TRAINING]
    environment = Environment(
        loader=PackageLoader("steps.data_page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "share": _share}
    return environment.get_template("page.html").render(
        data=description,
        splits=_split_rows(description),
        profiles=profiles,
        pictures=[Picture(profile, base) for profile in _most_telling(list(profiles.values()))],
        time=TimeChart.of(periods(sample), base),
        base=base,
        max_rows=None if sample.is_complete else MAX_ROWS,
        colors=SPLIT_COLORS,
        positive=POSITIVE,
        mark=MARK,
    )


class Picture:
    """The picture of one column."""

    def __init__(self, profile: ColumnProfile, base: float) -> None:
        self.profile = profile
        self.shares = share_axis(profile.bins)
        self.rates = RateAxis.of(profile.bins, base)
        self.histogram = Histogram.of(profile.histogram)

    @property
    def bins(self) -> Sequence[Bin]:
        """The bins, one row of the picture each."""
        return self.profile.bins


def _most_telling(profiles: list[ColumnProfile]) -> list[ColumnProfile]:
    """Return at most 60 profiles: highest AUC or largest drift, by descending AUC."""
    by_auc = sorted(profiles, key=lambda profile: -profile.auc)
    by_drift = sorted(profiles, key=lambda profile: -profile.drift)
    chosen: dict[str, None] = {}
    for pair in zip(by_auc, by_drift, strict=True):
        chosen |= dict.fromkeys(profile.name for profile in pair)
        if len(chosen) >= MAX_PICTURES:
            break
    shown = list(chosen)[:MAX_PICTURES]
    return [profile for profile in by_auc if profile.name in shown]


def _split_rows(description: SplitsDescription) -> list[dict[str, Any]]:
    rows = []
    for name, count in description.rows.items():
        positives = description.positives[name]
        rate = positives / count
        rows.append(
            {
                "name": name,
                "rows": count,
                "positives": positives,
                "rate": rate,
                "interval": proportion_interval(rate, count),
                "latest": description.latest[name],
            }
        )
    return rows


def _percent(share: float) -> str:
    """Return a share as per cent, with as many digits as tell small ones apart."""
    if not share:
        return "0 %"
    digits = 1 if share >= 0.1 else 2 if share >= 0.001 else 3
    return f"{100 * share:.{digits}f} %"


def _share(share: float) -> str:
    """Return a share as per cent, empty if it is none."""
    return f"{100 * share:.1f} %" if share else ""
