"""What is generated in this repository: `python -m tests.generated` writes it, a test holds it.

In conda.yaml the digest of the lock: MLflow names a conda environment by the text of conda.yaml
alone, so a new lock must change it. In README.md the tables of results, commands, parameters and
settings.
"""

import hashlib
import json
import re
from pathlib import Path

import yaml
from pydantic import SecretStr

from serving.schema import DEFAULT_URI, URI_VARIABLE
from serving.web.settings import PREFIX, Settings
from steps.pipeline.parameters import PARAMETERS

LOG_SETTINGS = {
    URI_VARIABLE: (DEFAULT_URI, "where predictions go: a SQLite or PostgreSQL URL"),
    "PREDICTION_LOG": ("on", "`off` logs nothing"),
    "MLPIPES_SPOOL": (
        "prediction-spool",
        "the folder where predictions wait while the log is away",
    ),
    "MLPIPES_LOG_FEATURES": ("on", "`off` leaves the features out of the log"),
}
SERVICE_SETTINGS = {
    f"{PREFIX}{name.upper()}": field for name, field in Settings.model_fields.items()
}

PROJECT = Path(__file__).resolve().parents[1]


def conda_yaml() -> str:
    """Return conda.yaml with the digest of the lock as it is now."""
    digest = hashlib.sha256((PROJECT / "requirements.txt").read_bytes()).hexdigest()
    text = (PROJECT / "conda.yaml").read_text()
    return re.sub(r"(?m)^# lock: .*$", f"# lock: sha256 {digest}", text)


def readme() -> str:
    """Return README.md with its tables as the code has them now."""
    text = (PROJECT / "README.md").read_text()
    tables = {
        "result": result(),
        "commands": commands(),
        "parameters": parameters(),
        "settings": settings(),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = before + begin + table + end + rest.split(end, 1)[1]
    return text


def result() -> str:
    """Return what the recorded run came to (`python -m benchmarks.record_result`)."""
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
        f"The best 8 of {len(found['leaderboard'])} candidates on the validation rows, after "
        f"{found['minutes']:.0f} minutes on {found['cores']} cores. The champion, fitted again, on "
        f"the untouched test rows: KS {with_interval('ks')}, ROC AUC {with_interval('roc_auc')}, "
        f"average precision {with_interval('average_precision')}, recall at 1 % false positives "
        f"{with_interval('recall_at_1pct_fpr')}. At its threshold it finds "
        f"{test['recall_at_threshold']:.0%} of the frauds with {test['fpr_at_threshold']:.1%} "
        "false positives.",
        "",
    ]
    return "\n".join(lines)


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


def settings() -> str:
    """Return the table of what the environment sets for a server."""
    rows = [
        f"| `{name}` | `{default}` | {meaning} |"
        for name, (default, meaning) in LOG_SETTINGS.items()
    ]
    for name, field in SERVICE_SETTINGS.items():
        default = field.default
        shown = "empty" if isinstance(default, SecretStr) else f"`{default}`"
        rows.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(["| environment variable | default | meaning |", "|---|---|---|", *rows, ""])


if __name__ == "__main__":
    for name, text in {"conda.yaml": conda_yaml(), "README.md": readme()}.items():
        (PROJECT / name).write_text(text)
