"""What is generated in this repository: `python -m tests.generated` writes it, a test holds it.

In conda.yaml the digest of the lock: MLflow names a conda environment by the text of conda.yaml
alone, so a new lock must change it. In README.md the tables of commands and parameters.
"""

import hashlib
import re
from pathlib import Path

import yaml

from steps.pipeline.parameters import PARAMETERS

PROJECT = Path(__file__).resolve().parents[1]


def conda_yaml() -> str:
    """Return conda.yaml with the digest of the lock as it is now."""
    digest = hashlib.sha256((PROJECT / "requirements.txt").read_bytes()).hexdigest()
    text = (PROJECT / "conda.yaml").read_text()
    return re.sub(r"(?m)^# lock: .*$", f"# lock: sha256 {digest}", text)


def readme() -> str:
    """Return README.md with its tables as the code has them now."""
    text = (PROJECT / "README.md").read_text()
    for name, table in {"commands": commands(), "parameters": parameters()}.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = before + begin + table + end + rest.split(end, 1)[1]
    return text


def commands() -> str:
    """Return the table of the Makefile's commands."""
    found = re.findall(r"(?m)^([a-z-]+):.*## (.*)$", (PROJECT / "Makefile").read_text())
    rows = [f"| `make {name}` | {help_} |" for name, help_ in found if name != "help"]
    return "\n".join(["| command | does |", "|---|---|", *rows, ""])


def parameters() -> str:
    """Return the table of `main`'s parameters."""
    project = yaml.safe_load((PROJECT / "MLproject").read_text())
    rows = [
        f"| `{name}` | `{declared['default']}` | {PARAMETERS[name].help} |"
        if declared["default"]
        else f"| `{name}` | empty | {PARAMETERS[name].help} |"
        for name, declared in project["entry_points"]["main"]["parameters"].items()
    ]
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows, ""])


if __name__ == "__main__":
    for name, text in {"conda.yaml": conda_yaml(), "README.md": readme()}.items():
        (PROJECT / name).write_text(text)
