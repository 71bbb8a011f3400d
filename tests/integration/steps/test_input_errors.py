"""Bad input to a step: one line that names the remedy, and no registered model."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from steps.runtime.mlproject import entry_points
from tests.support.in_process_steps import InProcessSteps


class Case:
    """What is passed to a step, and what its one line must say."""

    def __init__(self, says: str, step: str = "load_data", status: int = 1, **parameters: str):
        self.says, self.step, self.status, self.parameters = says, step, status, parameters


def rejects(step: str, parameter: str, value: str, rule: str) -> Case:
    return Case(rule, step, 2, **{parameter: value})


CASES = {
    # the file
    "missing file": Case("none.csv: no such file", data="{folder}/none.csv"),
    "a folder": Case("a_folder: ", data="{folder}/a_folder"),
    "empty": Case("empty.csv: ", data="{folder}/empty.csv"),
    "header only": Case("header.csv: the table is empty", data="{folder}/header.csv"),
    "image": Case("image.csv: ", data="{folder}/image.csv"),
    "binary": Case("binary.csv: ", data="{folder}/binary.csv"),
    "JSON": Case("text.json: ", data="{folder}/text.json"),
    "UTF-16": Case("utf16.csv: ", data="{folder}/utf16.csv"),
    "semicolons": Case("has 1 of class 1 and 29 of class 0", data="{folder}/semicolons.csv"),
    "Latin-1": Case("latin1.csv: column Class: too few rows", data="{folder}/latin1.csv"),
    "ragged": Case("ragged.csv: line 3: 3 values for 2 columns", data="{folder}/ragged.csv"),
    "cut Parquet": Case("cut.parquet: the Parquet file is corrupt", data="{folder}/cut.parquet"),
    "no Parquet": Case("no_magic.parquet: ", data="{folder}/no_magic.parquet"),
    "name twice": Case("column V1: duplicate column name", data="{folder}/twice.csv"),
    "unknown scheme": Case("gopher://there/t.csv: cannot be read", data="gopher://there/t.csv"),
    "dead server": Case("cannot be read", data="http://127.0.0.1:9/t.csv"),
    # the table
    "no target": Case("target 'Class' not found", data="{folder}/no_target.parquet"),
    "other target": Case("target 'fraud' not found; pass -P target", data="sample", target="fraud"),
    "gap in target": Case("missing values in the target", data="{folder}/gap_in_target.parquet"),
    "three classes": Case("the target must have two values, but has 3",
                          data="{folder}/three_classes.parquet"),
    "only 0": Case("the target must have two values", data="{folder}/only_0.parquet"),
    "only 1": Case("the target must have two values", data="{folder}/only_1.parquet"),
    "another positive": Case("positive: 'fraud' is no value of the target Class; pass one of",
                             status=2, data="sample", positive="fraud"),
    "unknown column to drop": Case("drop: sample has no column 'v1'; did you mean one of: V1",
                                   status=2, data="sample", drop="v1"),
    "unknown category": Case("has no column 'Hour'", status=2, data="sample", categorical="Hour"),
    "two uses of a column": Case("numeric: column V1 is also drop; name it in one of them",
                                 status=2, data="sample", drop="V1", numeric="V1"),
    "names with open quotes": rejects("load_data", "drop", '"V1', "are no names as in a line"),
    "unknown id column": Case("id_column: sample has no column 'key'", status=2, data="sample",
                              id_column="key"),
    "constant after the split": Case(
        "the validation split needs at least 5 rows of each class, but has 0 of class 1",
        data="{folder}/positives_too_early.parquet",
    ),
    "too few in training": Case(
        "the training split needs at least 20 rows of each class, but has 15 of class 1",
        data="{folder}/few_positives_in_training.parquet",
    ),
    "one negative": Case("too few rows to split", data="{folder}/one_negative.parquet",
                        split="stratified"),
    "ten rows": Case("needs at least 20 rows of each class, but has 3 of class 1 and 3 of class 0; "
                     "provide more rows", data="{folder}/ten_rows.parquet", split="stratified"),
    "infinite": Case("column V7: infinite values", data="{folder}/infinite.parquet"),
    "minus infinite": Case("column V7: infinite values", data="{folder}/minus_infinite.parquet"),
    "no feature": Case("no feature columns", data="{folder}/no_feature.parquet"),
    "gap in time": Case("missing values in the time", data="{folder}/gap_in_time.parquet"),
    "reserved name": Case("column _ml_pipes_row: the name is reserved; rename the column",
                          data="{folder}/reserved_name.parquet"),
    "words as time": Case("time must be numeric or a timestamp",
                         data="{folder}/words_as_time.parquet"),
    "time is the target": Case("column Class: is both target and time_column", data="sample",
                              time_column="Class"),
    "temporal without time": Case("time_column 'when' not found, but split=temporal needs it",
                                 data="sample", time_column="when", split="temporal"),
    # the parameters
    "unknown engine": rejects("main", "engines", "h2o,weka", "'weka' is not one of"),
    "no engine": rejects("main", "engines", " , ", "must name at least one"),
    "unknown metric": rejects("main", "metric", "accuracy", "is not one of"),
    "unknown profile": rejects("main", "profile", "huge", "is not one of"),
    "unknown promotion": rejects("main", "promotion", "never", "is not one of"),
    "unknown threshold rule": rejects("main", "threshold", "youden", "threshold"),
    "threshold costs nothing": rejects("main", "threshold", "cost=0:0", "threshold"),
    "refit perhaps": rejects("main", "refit", "perhaps", "not a valid boolean"),
    "cache perhaps": rejects("main", "cache", "perhaps", "not a valid boolean"),
    "model name with slash": rejects("main", "model_name", "a/b", "must consist of letters"),
    "model name with quote": rejects("main", "model_name", "it's", "must consist of letters"),
    "model name of a folder": rejects("main", "model_name", "..", "must not name a folder"),
    "no model name": rejects("main", "model_name", " ", "must consist of letters"),
    "long model name": rejects("main", "model_name", "x" * 300, "must have at most"),
    "no Spark master": rejects("main", "spark_master", "", "must not be empty"),
    "unknown split": rejects("load_data", "split", "random", "is not one of"),
    "some duplicates": rejects("load_data", "duplicates", "some", "is not one of"),
    "query of a file": Case("query: valid only if data is a database URL", "load_data", 2,
                            data="sample", query="query.sql"),
    "password in the URL": Case("data: the URL contains a password", "load_data", 2,
                                data="postgresql://me:secret@127.0.0.1:9/db?table=t"),
    "dead database": Case("postgresql+psycopg://me@127.0.0.1:9/db: ",
                          data="postgresql://me@127.0.0.1:9/db?table=t"),
    "negative seed": rejects("load_data", "seed", "-1", "not in the range"),
    "huge seed": rejects("load_data", "seed", str(2**31), "not in the range"),
    "seed in words": rejects("load_data", "seed", "seven", "not a valid integer"),
    "no data": rejects("load_data", "data", " ", "must not be empty"),
    "no target name": rejects("load_data", "target", "", "must not be empty"),
    "another kind of output": rejects("export_predictions", "output", "out.xlsx", "must end with"),
    "since yesterday": rejects("export_predictions", "since", "yesterday", "not a time such as"),
    "until a 13th month": rejects("export_predictions", "until", "2026-13-01",
                                  "not a time such as"),
    "purge before nothing": rejects("purge_predictions", "before", "", "not a time such as"),
    "a log of another kind": Case("", "export_predictions", log_uri="mysql://there/log",
                                 output="{folder}/out.csv"),
    "a window of a fortnight": rejects("monitor", "window", "fortnight", "not a duration such as"),
    "a window of no length": rejects("monitor", "window", "0d", "not a duration such as"),
    "the last none": rejects("monitor", "last", "0", "not in the range"),
    "last and since": Case("last: cannot be combined with since", "monitor", 2, last="5",
                           since="2026-01-01"),
    "since after until": Case("must be before until", "monitor", 2, since="2026-02-01",
                             until="2026-01-01"),
    "no PSI limit": rejects("monitor", "psi_limit", "0", "not in the range"),
    "more than all features": rejects("monitor", "drift_share", "1.5", "not in the range"),
    "a floor above 1": rejects("monitor", "metric_floor", "7", "not in the range"),
    "retrain perhaps": rejects("monitor", "retrain", "perhaps", "is not one of"),
    "promote perhaps": rejects("monitor", "promote", "perhaps", "is not one of"),
    "nothing to monitor": Case("has no champion: train one", "monitor"),
    "nothing to roll back": Case("champion: there is nothing to roll back", "rollback"),
    "clean perhaps": rejects("demo", "clean", "perhaps", "not a valid boolean"),
    "a demo in a folder of others": Case("was not made by the demo", "demo", 2, folder="{folder}"),
    "an artifact that is not there": Case("no such artifact", data="runs:/123/table.parquet"),
    "no folder to write to": rejects("score_batch", "output", "/no/folder/out", "no such folder"),
    "log perhaps": rejects("score_batch", "log_predictions", "perhaps", "not a valid boolean"),
    "nothing to score": rejects("score_batch", "input", " ", "must not be empty"),
    "no champion to score with": Case("has no champion: train one", "score_batch"),
    # runs and servers
    "unknown data run": Case("data_run_id: run 123 has no splits", "select_champion", 2,
                            data_run_id="123"),
    "odd data run": Case("has no splits", "select_champion", 2, data_run_id="../../etc"),
    "no data run": rejects("select_champion", "data_run_id", " ", "must not be empty"),
    "unknown training run": Case("training_run_ids: run 123 not found", "select_champion", 2,
                                training_run_ids="123"),
    "odd training run": Case("not found; pass runs of finished training steps", "select_champion",
                             2,
                            training_run_ids="x' or 1=1"),
    "a run that trained nothing": Case("left no candidate", "select_champion",
                                      training_run_ids="{data_run}"),
    "dead H2O": Case("no H2O answers at http://127.0.0.1:9", "train_h2o",
                    h2o_url="http://127.0.0.1:9"),
    "H2O without scheme": Case("h2o_url: ", "train_h2o", h2o_url="nowhere"),
    "another server than H2O": Case("no H2O answers at", "train_h2o", h2o_url="{server}"),
    "H2O of another version": Case("has version 3.30.0.1, the client has 3.46", "train_h2o",
                                  h2o_url="{other_h2o}"),
    "H2O that is not well": Case("is unhealthy: Cluster reports unhealthy status", "train_h2o",
                                h2o_url="{other_h2o}/ill"),
    "refit of nothing": Case("refit_of: run 123 is not a candidate", "train_h2o", 2,
                            refit_of="123"),
    "dead Spark": Case("spark_master: no Spark answers at spark://127.0.0.1:9", "train_spark",
                      spark_master="spark://127.0.0.1:9"),
    "refit of another engine's": Case("is not a candidate of spark", "train_spark", 2,
                                     refit_of="{data_run}"),
    "Spark with a wild port": Case("no Spark answers", "train_spark",
                                  spark_master="spark://127.0.0.1:99999"),
    "Spark without port": Case("spark_master: ", "train_spark", spark_master="spark://nowhere"),
}  # fmt: skip


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


class ForeignH2O(http.server.BaseHTTPRequestHandler):
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
    with listening(ForeignH2O) as url:
        yield url


@pytest.mark.quick
@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line(
    name, bad_files, server, other_h2o, in_process_steps, data_run, capfd
):
    case = CASES[name]
    known = {"folder": bad_files, "server": server, "other_h2o": other_h2o, "data_run": data_run}
    parameters = {n: value.format(**known) for n, value in case.parameters.items()}
    given = {
        "data_run_id": data_run,
        "training_run_ids": data_run,
        "output": f"{bad_files}/new.csv",
    }
    parameters = given | parameters
    assert in_process_steps.run(case.step, **parameters) == case.status
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "ml-pipes: " in line]
    assert line.isprintable()
    assert len(line) < 1200
    assert line.startswith(f"ml-pipes: {case.step}: ")
    assert case.says in line
    run = in_process_steps.client.search_runs(["0"])[0]
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] in line
    assert not in_process_steps.client.search_registered_models()


@pytest.mark.quick
@pytest.mark.parametrize(("time_column", "says"), [("when", True), ("", False)])
def test_time_column_that_is_not_there_is_said(in_process_steps, caplog, time_column, says):
    assert in_process_steps.run("load_data", data="sample", time_column=time_column) == 0
    assert ("time_column 'when' not found" in caplog.text) == says


@pytest.mark.quick
def test_damaged_cached_file_is_rejected(in_process_steps, tmp_path, monkeypatch, caplog):
    """The wrong checksum of a cached file means that it is fetched again; here it cannot be."""
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr("sklearn.datasets.fetch_openml", offline)
    (tmp_path / "creditcard.csv").write_text("Time,Class\n1,0\n")
    assert in_process_steps.run("load_data", data="creditcard") == 1
    assert "creditcard.csv is corrupt; downloading it again" in caplog.text
    assert (
        in_process_steps.client.search_runs(["0"])[0]
        .data.tags["error"]
        .startswith("data: the credit card data could not be downloaded")
    )


@pytest.mark.quick
def test_cache_path_that_is_a_file_is_one_line(in_process_steps, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "file"))
    assert in_process_steps.run("load_data", data="creditcard") == 1
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
def test_unreachable_tracking_server_is_one_line(tmp_path, uri, shown, capfd):
    steps = InProcessSteps(tmp_path)
    steps.uri = uri
    assert steps.run("load_data", data="sample") == 1
    said = capfd.readouterr().err
    assert f"ml-pipes: load_data: MLFLOW_TRACKING_URI: no tracking server at {shown}: " in said
    assert "secret" not in said


@pytest.mark.quick
def test_every_parameter_has_a_case():
    tried = {name for case in CASES.values() for name in case.parameters}
    declared = {name for point in entry_points().values() for name in point["parameters"]}
    assert declared <= tried
