"""The documentation's files, their commands and their links."""

import re
from pathlib import Path

from tests.support.project import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def commands() -> set[str]:
    """Return every command in a `sh` block, without comments, continued lines joined."""
    blocks = [
        block for page in PAGES for block in re.findall(r"(?s)```sh\n(.*?)```", page.read_text())
    ]
    lines = "\n".join(blocks).replace("\\\n", "").splitlines()
    return {re.sub(r"\s+#.*", "", line) for line in lines if line}


def command(start: str) -> str:
    """Return the only command that begins with `start`."""
    (found,) = [line for line in commands() if line.startswith(start)]
    return found


def links(page: Path) -> list[str]:
    """Return the targets of all links and images of a page."""
    return re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text()))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", _without_code(page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_code(text: str) -> str:
    return re.sub(r"(?s)```.*?```", "", text)
