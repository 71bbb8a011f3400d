"""The page about the data."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from steps.data_page import sample
from steps.data_page.bins import as_text
from steps.data_page.page import data_page
from tests.support.tables import load_frame

pytestmark = pytest.mark.quick

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The tags, the addresses and the text of a page, and the rows of its tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.addresses, self.rows, self.titles = set(), [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self.titles += [value for name, value in attrs if name == "title"]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += " ".join(data.split())


@pytest.fixture(scope="module")
def mixed() -> pd.DataFrame:
    random = np.random.default_rng(5)
    rows = 1000
    y = (np.arange(rows) % 5 == 0).astype(np.int64)
    job = pd.Series(np.where(y == 1, "nurse", "clerk")).where(random.random(rows) < 0.8, HOSTILE)
    return pd.DataFrame(
        {
            "booked": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows), "h"),
            "amount": random.lognormal(size=rows).round(2),
            "job": job.mask(random.random(rows) < 0.1),
            HOSTILE: random.random(rows) < 0.5,
            "since": pd.Timestamp("2020-02-29")
            + pd.to_timedelta(random.integers(0, 99, rows), "D"),
            "late": np.where(np.arange(rows) < 600, "early", "new"),
            "result": y + random.random(rows) / 2,
            "same": 1,
            "Class": y,
        }
    ).assign(late=lambda t: t["late"].where(random.random(rows) < 0.9, "both"))


@pytest.fixture(scope="module")
def html(mixed, tmp_path_factory) -> str:
    return data_page(load_frame(mixed, tmp_path_factory.mktemp("splits"), time_column="booked"))


def test_page_needs_nothing_else_and_escapes_names_and_values(html):
    page = Page(html)
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe"} & page.tags
    assert "@import" not in html
    assert "url(" not in html
    assert html.count("&lt;script&gt;alert(1)") >= 3  # a column, its picture and a level


def test_rows_of_each_split_and_columns_are_listed(html):
    rows = Page(html).rows
    assert ["training", "600", "120", "20.0 %"] in [row[:4] for row in rows]
    by_name = {row[0]: row for row in rows if len(row) == 8}
    assert by_name["same"][1:5] == ["constant", "", "", ""]
    assert by_name["same"][7] == "left out: all values are 1"
    assert by_name["job"][1] == "category"
    assert by_name["job"][2].endswith("%")
    assert by_name["job"][3] == "3"
    assert float(by_name["late"][5]) > 0.5 > float(by_name["amount"][5])


def test_suspects_come_first(html):
    assert html.index("Leakage suspects") < html.index("<table")
    assert re.search(r"<code>result</code> \(AUC 1.0000\)", html)
    assert "resultleakage suspect" in {row[0] for row in Page(html).rows if row}


def test_levels_have_counts_and_rates(html, mixed):
    page, training = Page(html), mixed.head(600)
    nurses = training[training["job"] == "nurse"]
    assert any(
        title.startswith(f"{nurses['Class'].sum()} of {len(nurses)} training rows")
        for title in page.titles
        if title
    )
    shown = [row[0] for row in page.rows if len(row) == 3]
    assert {"nurse", "clerk", HOSTILE, "missing", "false", "true"} <= set(shown)
    assert shown.count("not in training") == 1  # the level of late rows
    assert any(re.fullmatch(r"2020-\d\d-\d\d to 2020-\d\d-\d\d", label) for label in shown)


def test_rates_over_time_need_a_time_column(html, mixed, tmp_path):
    assert "Class 1 over time" in html
    assert "Vertical lines divide the splits" in html
    assert "<span>2024-01-01 00:00 to 2024-01-02" in html
    untimed = mixed.drop(columns=["booked", "result"])
    page = data_page(load_frame(untimed, tmp_path))
    assert "over time" not in page
    assert "Leakage suspects" not in page


def test_pictures_of_wide_tables_are_limited(table, tmp_path):
    random = np.random.default_rng(0)
    wide = table.assign(**{f"w{i:02}": random.normal(size=len(table)) for i in range(70)})
    page = data_page(load_frame(wide, tmp_path, time_column="Time"))
    assert "The 60 of 72 columns" in page
    assert page.count("<article>") == 60
    assert page.index("<h3>V1</h3>") < page.index("<h3>w")  # it has the highest AUC
    assert len(page) < 2_000_000


def test_large_splits_are_sampled_evenly(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "MAX_ROWS", 100)
    splits = load_frame(mixed, tmp_path, time_column="booked")
    found = sample.SplitsSample(splits)
    (since,) = (feature for feature in splits.features if feature.name == "since")
    column = found.column(since)["training"]
    assert len(column) == len(found.y["training"]) == len(found.times["training"]) == 100
    assert column[99] == mixed["since"][599]
    assert "at most 200,000 evenly spaced rows" in data_page(splits)


def test_samples_without_class_1_are_drawn(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "MAX_ROWS", 3)  # the first, the last and one between
    rare = mixed.drop(columns=["result", "booked"]).assign(Class=np.arange(len(mixed)) % 10 == 3)
    rare["second"] = pd.Timestamp("2024-01-01").timestamp() + np.arange(len(mixed))
    page = data_page(load_frame(rare, tmp_path, time_column="second"))
    assert "dashed, in all of them (10.0 %)" in page
    assert "<span>1,704,067,200</span><span>1,704,068,199</span>" in page


def test_levels_beyond_those_that_a_feature_lists_are_in_training(tmp_path):
    rows = 6000
    shops = pd.Series(np.arange(rows) % 1500).map("shop {:04}".format)
    y = np.arange(rows) % 7 == 0
    page = Page(data_page(load_frame(pd.DataFrame({"shop": shops, "Class": y}), tmp_path)))
    shown = {row[0]: row[2] for row in page.rows if len(row) == 3}
    assert shown["not in training"] == "no training rows"
    assert any(re.fullmatch(r"1,4\d\d other levels", label) for label in shown)


def test_ranges_of_close_numbers_are_told_apart(tmp_path):
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"longitude": 13.4 + random.random(500) / 1000, "y": random.random(500)})
    frame["Class"] = np.arange(500) % 3 == 0
    page = Page(data_page(load_frame(frame, tmp_path)))
    ranges = [row[0] for row in page.rows if len(row) == 3 and row[0].startswith("13.4")]
    assert len(set(ranges)) == len(ranges) == 10


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (52.5123, "52.5"),
        (999.7, "1,000"),
        (0.000123456, "0.000123"),
        (12345.6, "12,346"),
        (2.0, "2"),
    ],
)
def test_numbers_are_short(value, text):
    assert as_text(value, is_time=False) == text
