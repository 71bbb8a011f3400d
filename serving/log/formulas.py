"""Text for CSV files, which spreadsheets must not run as formulas."""

import re

# An apostrophe in front of it makes a spreadsheet take a cell as text.
FORMULA = r"^(\s*[=+\-@＝＋－＠]|[\t\r\n])"  # noqa: RUF001
_FORMULA = re.compile(FORMULA)


def as_text_cell(text: str) -> str:
    """Return `text` for a cell of a CSV file, with an apostrophe if it looks like a formula."""
    return f"'{text}" if _FORMULA.match(text) else text
