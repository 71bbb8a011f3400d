"""The test for degradation: live performance below the floor, beyond chance.

Windows overlap and are assessed every hour, so an interval of 95 % would raise an alarm for nearly
every stable champion sooner or later. Two bounds are wide enough that about 1 % of stable champions
raise an alarm in 100 windows' worth of hourly looks:

floor   the one-sided 99 % lower bound of the metric on the test rows. It is drawn once, so it is
        not corrected for the number of looks.
live    the upper bound at 4.4 standard errors. For a window that slides over 100 windows, the
        largest deviation exceeds u with probability 100 u phi(u) (Slepian 1961; Leadbetter,
        Lindgren and Rootzén 1983, "Extremes and Related Properties of Random Sequences and
        Processes", chapter 12): 1 % at 4.4.

An anytime-valid test would have to see each label once, in order. Labels arrive late and are
corrected, windows are chosen by people, and the metrics of a window are no sum over its rows.
`python -m benchmarks.decisions degradation` simulates false alarms and power.
"""

from scipy.stats import norm

from steps.evaluation.intervals import Interval, Z

FLOOR_Z = float(norm.ppf(0.99))
LOOKS_Z = 4.4


def floor_of(value: float, interval: Interval) -> float:
    """Return the floor of a live metric.

    Args:
        value: the metric on the test rows.
        interval: its 95 % interval, whose lower part is widened to the confidence of the floor.
    """
    return value - (value - interval.low) * FLOOR_Z / Z


def is_degraded(upper_bound: float, floor: float) -> bool:
    """Return whether a live metric is below the floor, given its upper bound at `LOOKS_Z`."""
    return upper_bound < floor
