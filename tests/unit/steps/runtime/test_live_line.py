"""The live line of a terminal."""

import time
import unicodedata

import pytest

from steps.runtime.live_line import Work

pytestmark = pytest.mark.quick


def columns_of(text: str) -> int:
    """Return the columns of a terminal that takes two for wide characters."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


@pytest.mark.parametrize("doing", ["scores 漢字.csv " * 9, "reads " * 30, "漢" * 13, "short"])
@pytest.mark.parametrize("columns", [1, 2, 39, 40, 80])
def test_line_does_not_wrap(doing, columns):
    line = Work("train_spark", time.time(), doing).line(columns)
    assert columns_of(line) <= max(1, columns - 1)
    assert line.endswith("…") or doing.split()[-1] in line


def test_marks_above_letters_take_no_column():
    doing = "e\N{COMBINING ACUTE ACCENT}" * 20
    assert doing in Work("step", time.time(), doing).line(35)
