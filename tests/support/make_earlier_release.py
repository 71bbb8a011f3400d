"""Make the archive of what the present release leaves behind, for the tests of later ones.

    python -m tests.support.make_earlier_release [FILE]

Run it in a clone of the release, with its environment's `bin` first on the PATH; it takes about
two minutes. FILE is `tests/fixtures/earlier_release.zip` unless given. An archive is made once
for a release: one made again later shows what that later release leaves.

It trains two champions on a small table, serves the second, sends it requests and feedback, and
monitors it. Pictures become a single pixel; native models and HTML pages are left out, as
nothing reads them again.
"""

import base64
import platform
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pandas as pd
import requests

from serving.log.database.migrations import SCHEMA_VERSION
from tests.support.earlier_release import ARCHIVE, PLACEHOLDER, replace_in_database
from tests.support.project import PROJECT
from tests.support.service_fixtures import service_process
from tests.support.workspaces import Workspace

SEED = 20
TRAINED, EARLIER, SERVED = 900, 600, 300
FEATURES = ["V1", "V2", "V3", "Amount"]
HOW = {"engines": "pycaret", "profile": "quick", "model_name": "credit-card-fraud"}
ROWS_A_REQUEST = 20
# Every fifth request can be repeated; every tenth row gets no label.
KEYED, UNLABELLED = 5, 10
# Where the project was; it need not be there any more.
PROJECT_THEN = "/ml-pipes"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
PACKAGES = ("mlflow", "pycaret", "scikit-learn", "onnxruntime", "numpy", "pandas", "SQLAlchemy")
README = """\
What ml-pipes {release} (commit {commit}) left behind, with Python {python} and
{packages}.

mlflow.db          MLflow's tracking store and registry: runs, versions, aliases
mlruns             its artifacts, without native models and HTML pages; pictures are one pixel
predictions.db     the prediction log, of schema version {schema}
table.parquet      what version 2, the champion, was trained on: {trained} rows
earlier.parquet    what version 1, the previous champion, was trained on: its first {earlier} rows

{placeholder} stands for the folder that all this was in.
"""


def table(rows: int) -> pd.DataFrame:
    """Return transactions in the order of their times, some of them without an amount."""
    random = np.random.default_rng(SEED)
    target = (random.random(rows) < 0.12).astype("int64")
    amount = np.exp(random.normal(3, 1, rows)).round(2)
    amount[random.random(rows) < 0.08] = np.nan
    return pd.DataFrame(
        {
            "Time": 60.0 * np.arange(rows),
            "V1": random.normal(size=rows) + 1.5 * target,
            "V2": random.normal(size=rows) - target,
            "V3": random.normal(size=rows),
            "Amount": amount,
            "Class": target,
        }
    )


def make(archive: Path) -> None:
    """Do all that a user does with this release, and pack what it leaves."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-release-") as temporary:
        workspace = Workspace(Path(temporary).resolve())
        whole = table(TRAINED + SERVED)
        train(workspace, whole[:EARLIER], "earlier.parquet")
        train(workspace, whole[:TRAINED], "table.parquet", promotion="always")
        log_uri = f"sqlite:///{workspace.folder}/predictions.db"
        with service_process(workspace, PREDICTION_LOG_URI=log_uri) as server:
            send(server.url, whole[TRAINED:].reset_index(drop=True))
        run(workspace, "monitor", model_name=HOW["model_name"], retrain="never", log_uri=log_uri)
        shrink(workspace.folder)
        tidy(workspace.folder)
        (workspace.folder / "README.txt").write_text(readme())
        pack(workspace.folder, archive)


def train(workspace: Workspace, rows: pd.DataFrame, name: str, **parameters: str) -> None:
    """Train on `rows`, which are kept as `name`."""
    file = workspace.folder / name
    rows.to_parquet(file, index=False)
    run(workspace, "main", data=str(file), **HOW, **parameters)


def run(workspace: Workspace, entry_point: str, **parameters: str) -> None:
    """Run an entry point, which must succeed."""
    done = workspace.run(entry_point, **parameters)
    if done.returncode:
        raise SystemExit(done.stderr)


def send(url: str, rows: pd.DataFrame) -> None:
    """Let the service at `url` predict all rows; then tell it what most of them were."""
    ids = [f"card-{row}" for row in rows.index]
    columns = rows[FEATURES].astype(object).where(rows[FEATURES].notna(), None).assign(id=ids)
    prediction_ids: list[str] = []
    for request, start in enumerate(range(0, len(rows), ROWS_A_REQUEST)):
        body = columns[start : start + ROWS_A_REQUEST].to_dict("list")
        headers = {} if request % KEYED else {"Idempotency-Key": f"request-{request}"}
        answer = post(f"{url}/predict", body, headers=headers)
        prediction_ids += [row["prediction_id"] for row in answer["predictions"]]
    # Labels come by either id, and one of them is corrected.
    labels = [
        {"id": ids[row], "label": label}
        if row % 2
        else {"prediction_id": prediction_ids[row], "label": label}
        for row, label in enumerate(rows["Class"].tolist())
        if row % UNLABELLED
    ]
    wrong = labels[0] | {"label": 1 - labels[0]["label"]}
    for some in ([wrong], labels):
        recorded = post(f"{url}/feedback", {"labels": some})
        assert recorded == {"recorded": len(some), "unknown": []}


def post(url: str, body: dict[str, Any], **options: Any) -> Any:
    """Return what is answered to a request."""
    answer = requests.post(url, json=body, timeout=60, **options)
    answer.raise_for_status()
    return answer.json()


def shrink(folder: Path) -> None:
    """Remove what nothing reads again."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        registered = {
            Path(place).parent
            for (place,) in connection.execute("SELECT storage_location FROM model_versions")
        }
    for model in (folder / "mlruns").glob("*/models/*"):
        if model not in registered:
            rmtree(model)
    for page in (folder / "mlruns").rglob("*.html"):
        page.unlink()
    for picture in (folder / "mlruns").rglob("*.png"):
        picture.write_bytes(PIXEL)


def tidy(folder: Path) -> None:
    """Take all paths of this machine out of what is kept, and close the databases."""
    places = {str(folder): PLACEHOLDER, str(PROJECT): PROJECT_THEN}
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        for table_, key, value in (
            ("tags", "key", "value"),
            ("logged_model_tags", "tag_key", "tag_value"),
        ):
            connection.execute(
                f"UPDATE {table_} SET {value} = ? WHERE {key} = 'mlflow.source.git.repoURL'",
                [PROJECT_THEN],
            )
    for old, new in places.items():
        replace_in_database(folder / "mlflow.db", old, new)
        for file in kept(folder):
            content = file.read_bytes()
            if old.encode() in content:
                file.write_text(content.decode().replace(old, new))
    for database in ("mlflow.db", "predictions.db"):
        with closing(sqlite3.connect(folder / database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("VACUUM")


def readme() -> str:
    """Return what the archive says of itself."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return README.format(
        release=next(
            line.split('"')[1]
            for line in (PROJECT / "pyproject.toml").read_text().splitlines()
            if line.startswith("version = ")
        ),
        commit=commit.stdout.strip(),
        python=platform.python_version(),
        packages=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        schema=SCHEMA_VERSION,
        trained=TRAINED,
        earlier=EARLIER,
        placeholder=PLACEHOLDER,
    )


def kept(folder: Path) -> list[Path]:
    """Return the files of a workspace in a fixed order, without what servers and runs said."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and file.suffix != ".log"
        and "prediction-spool" not in file.relative_to(folder).parts
    )


def pack(folder: Path, archive: Path) -> None:
    """Write the archive, in which nothing but the content of the files differs between two."""
    archive.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in kept(folder):
            packed.writestr(
                zipfile.ZipInfo(str(file.relative_to(folder))),
                file.read_bytes(),
                zipfile.ZIP_DEFLATED,
                9,
            )


if __name__ == "__main__":
    make(Path(sys.argv[1]) if sys.argv[1:] else ARCHIVE)
