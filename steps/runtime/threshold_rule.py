"""Rules for the choice of a champion's threshold: the values of the parameter `threshold`."""

import re
from dataclasses import dataclass
from typing import Self

NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
FORMS = {
    "ks": "ks",
    "cost": f"cost={NUMBER}:{NUMBER}",
    "alerts": f"alerts={NUMBER}%",
    "precision": f"precision={NUMBER}",
    "recall": f"recall={NUMBER}",
}
USAGE = "ks, cost=MISS:ALARM, alerts=SHARE%, precision=P or recall=R"


@dataclass(frozen=True)
class ThresholdRule:
    """A rule for the choice of a threshold.

    Attributes:
        name: `ks`, `cost`, `alerts`, `precision` or `recall`.
        values: the numbers of the rule: the costs of a missed positive and of a false alarm, or
            the share of rows (0 to 1), the precision or the recall to reach.
        text: the rule as it was given.
    """

    name: str
    values: tuple[float, ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule of a text such as `ks`, `cost=500:10`, `alerts=0.5%` or `recall=0.9`.

        Raises:
            ValueError: the text is not a rule.
        """
        compact = re.sub(r"\s", "", text).lower()
        for name, form in FORMS.items():
            if found := re.fullmatch(form, compact):
                values = tuple(map(float, found.groups()))
                return cls(name, _checked(name, values), compact)
        raise ValueError(f"{text!r} is not {USAGE}, such as cost=500:10 or alerts=0.5%")

    def __str__(self) -> str:
        return self.text


def _checked(name: str, values: tuple[float, ...]) -> tuple[float, ...]:
    if name == "alerts":
        values = (values[0] / 100,)
    if min(values, default=1) <= 0:
        raise ValueError(f"the values of {name} must be above 0")
    if name in ("alerts", "precision", "recall") and values[0] > 1:
        limit = "100 %" if name == "alerts" else "1"
        raise ValueError(f"{name} must be at most {limit}")
    return values
