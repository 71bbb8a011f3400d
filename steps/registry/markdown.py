"""Texts of users within Markdown."""

import re

# Characters that format a text; an underscore inside of a word does not.
MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
# MLflow's pages do not know backslashes before these.
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
BACKTICKS = re.compile("`+")
# The registry's database holds so many characters of a description.
MAX_DESCRIPTION = 5_000


def as_plain_text(text: str) -> str:
    """Return a text, as one line, so that Markdown shows it as it is, also in a table."""
    return " ".join(MARKDOWN.sub(r"\\\g<0>", text).translate(ENTITIES).split())


def as_code(text: str) -> str:
    """Return a text, as one line, as a code span; not for tables, where `|` ends a cell."""
    line = " ".join(text.split())
    if "`" not in line:
        return f"`{line}`"
    fence = "`" * (max(map(len, BACKTICKS.findall(line))) + 1)
    return f"{fence} {line} {fence}"
