"""Texts of users within Markdown."""

import re

# Characters that format a text; an underscore inside of a word does not.
MARKDOWN = re.compile(r"[\\`*\[\]<>|~]|(?<![^\W_])_|_(?![^\W_])")


def as_plain_text(text: str) -> str:
    """Return a text, as one line, so that Markdown shows it as it is, also in a table."""
    return " ".join(MARKDOWN.sub(r"\\\g<0>", text).split())
