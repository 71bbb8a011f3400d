"""The expected use of a model at its threshold, in words."""

PER_ROWS = 10_000
THRESHOLD_OPTIONS = "cost=MISS:ALARM, alerts=SHARE%, precision=P or recall=R"


def describe_worth(metrics: dict[str, float], threshold: float, rule: str) -> str:
    """Return recall, precision and alerts of a model at its threshold, with 95 % intervals.

    Args:
        metrics: the threshold metrics, and the ends of their intervals as NAME_low and NAME_high.
        threshold: the threshold.
        rule: the rule that chose it.
    """

    def ends(name: str, factor: float, digits: str) -> str:
        value, low, high = (
            f"{factor * metrics[f'{name}_at_threshold{end}']:{digits}}"
            for end in ("", "_low", "_high")
        )
        return f"{value} ({low} to {high})"

    return (
        f"At its threshold of {threshold:.6g} ({rule}), expect {ends('recall', 100, '.0f')} % of "
        f"the positives to be found, with {ends('alert_rate', PER_ROWS, ',.0f')} alerts per "
        f"{PER_ROWS:,} rows, of which {ends('precision', 100, '.3g')} % are right"
    )
