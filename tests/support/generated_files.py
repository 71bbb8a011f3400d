"""Generated parts of the repository: `python -m tests.support.generated_files` writes them.

The digest of the lock in conda.yaml, since MLflow names a conda environment by the text of
conda.yaml alone and a new lock must change it; and the tables in the documentation between
`<!-- NAME -->` and `<!-- end of NAME -->`.
"""

import ast
import hashlib
import json
import re

import yaml
from pydantic import SecretStr

from benchmarks.peer_report import markdown
from serving.settings import LogSettings, ServiceSettings, variables
from steps.alerts.settings import AlertSettings
from steps.runtime.parameters import PARAMETERS
from tests.support.project import PROJECT

SETTINGS = variables(LogSettings) | variables(ServiceSettings) | variables(AlertSettings)


def result() -> str:
    """Return the leaderboard and test metrics that `benchmarks.record_result` recorded."""
    found = json.loads((PROJECT / "docs" / "result.json").read_text())
    names = ("roc_auc", "average_precision", "log_loss")
    lines = [
        f"| | engine | algorithm | ks | 95 % interval | {' | '.join(names)} | |",
        "|--|--|--|--|--|--|--|--|--|",
    ]
    for place, row in enumerate(found["leaderboard"][:8], start=1):
        interval = f"{row['val_ks_low']:.3f} to {row['val_ks_high']:.3f}"
        values = " | ".join(f"{row[f'val_{name}']:.4f}" for name in names)
        lines.append(
            f"| {place} | {row['engine']} | {row['algorithm']} | {row['val_ks']:.4f} | {interval} "
            f"| {values} | {row['standing']} |"
        )
    test = found["test"]

    def with_interval(name: str) -> str:
        return f"**{test[name]:.3f}** ({test[f'{name}_low']:.3f} to {test[f'{name}_high']:.3f})"

    lines += [
        "",
        f"These are the best 8 of {len(found['leaderboard'])} candidates on the validation split, "
        f"after {found['minutes']:.0f} minutes on {found['cores']} cores. The refitted champion on "
        f"the untouched test split: KS {with_interval('ks')}, ROC AUC {with_interval('roc_auc')}, "
        f"average precision {with_interval('average_precision')}, recall at 1 % false positives "
        f"{with_interval('recall_at_1pct_fpr')}. At its threshold it detects "
        f"{100 * test['recall_at_threshold']:.0f} % of the frauds with a false positive rate of "
        f"{100 * test['fpr_at_threshold']:.1f} %.",
        "",
    ]
    return "\n".join(lines)


def size() -> str:
    """Return the seconds and memory of `load_data` that `benchmarks.size` recorded."""
    found = json.loads((PROJECT / "docs" / "size.json").read_text())
    lines = ["| rows | format | seconds | GB | runs |", "|--|--|--|--|--|"]
    for name in sorted(found, key=lambda name: (int(name.split()[1]), name)):
        format_, rows = name.split()
        values = found[name]
        lines.append(
            f"| {int(rows):,} | {format_} | {values['seconds']:.0f} | {values['gigabytes']:.1f} "
            f"| {values['runs']} |"
        )
    return "\n".join([*lines, ""])


def step_sizes() -> str:
    """Return the seconds and memory of each step that `benchmarks.step_sizes` recorded."""
    found = json.loads((PROJECT / "docs" / "step_sizes.json").read_text())
    steps = list(dict.fromkeys(name.split()[1] for name in found))
    lines = [f"| rows | {' | '.join(steps)} |", f"|--:{'|--:' * len(steps)}|"]
    for rows in sorted({int(name.split()[0]) for name in found}):
        cells = (found.get(f"{rows} {step}") for step in steps)
        shown = (
            f"{cell['seconds']:,.0f} s, {cell['gigabytes']:.1f} GB" if cell else ""
            for cell in cells
        )
        lines.append(f"| {rows:,} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def peers() -> str:
    """Return the ranks and metrics of the cells that `benchmarks.peers` recorded."""
    return markdown(json.loads((PROJECT / "docs" / "peers.json").read_text()))


def commands() -> str:
    """Return the table of the Makefile's commands."""
    found = re.findall(r"(?m)^([a-z-]+):.*## (.*)$", (PROJECT / "Makefile").read_text())
    rows = [f"| `make {name}` | {help_} |" for name, help_ in found if name != "help"]
    return "\n".join(["| command | |", "|---|---|", *rows, ""])


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


def settings() -> str:
    """Return the table of environment variables that a server reads."""
    rows = []
    for name, field in SETTINGS.items():
        default = {True: "on", False: "off"}.get(field.default, field.default)
        shown = "empty" if default in ("", SecretStr("")) else f"`{default}`"
        rows.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows, ""])


def packages() -> str:
    """Return the table of the packages below `steps` and `serving`, from their docstrings."""
    rows = []
    for file in sorted(PROJECT.glob("s*/*/__init__.py")):
        package = file.parent.relative_to(PROJECT)
        summary = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0]
        rows.append(f"| [`{package}`](../{package}) | {' '.join(summary.split())} |")
    return "\n".join(["| package | contents |", "|---|---|", *rows, ""])


TABLES = {
    "README.md": [result],
    "docs/configuration.md": [commands, parameters, settings],
    "docs/how-it-works.md": [packages],
    "docs/peers.md": [peers],
    "docs/train.md": [step_sizes],
    "docs/your-own-data.md": [size],
}
GENERATED = ["conda.yaml", *TABLES]


def generate(file: str) -> str:
    """Return the current content of `file`, one of GENERATED."""
    text = (PROJECT / file).read_text()
    if file == "conda.yaml":
        digest = hashlib.sha256((PROJECT / "requirements.txt").read_bytes()).hexdigest()
        return re.sub(r"(?m)^# lock: .*$", f"# lock: sha256 {digest}", text)
    for table in TABLES[file]:
        name = table.__name__
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = before + begin + table() + end + rest.split(end, 1)[1]
    return text


if __name__ == "__main__":
    for name in GENERATED:
        (PROJECT / name).write_text(generate(name))
