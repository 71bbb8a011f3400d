"""Cells and report of `benchmarks.peers`, and what a peer is given."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import peers
from benchmarks.peer_fit import read
from benchmarks.peer_report import OURS, SYSTEMS, mean_ranks
from tests.support.mixed_splits import ROWS, TARGET, mixed_splits

pytestmark = pytest.mark.quick

# By table, in the order of the systems.
AUC = {"a": (0.95, 0.92, 0.91, 0.90), "b": (0.85, 0.82, 0.81, 0.83)}


@pytest.fixture
def folder(tmp_path):
    """Cells of two tables and all systems."""
    for table, areas in AUC.items():
        for system, auc in zip(SYSTEMS, areas, strict=True):
            write_cell(tmp_path, table, system, {"roc_auc": auc})
    return tmp_path


def write_cell(folder, table, system, result, seed=42):
    facts = {"table": table, "source": table, "seed": seed, "system": system}
    facts |= {"profile": "quick", "cores": 2}
    if system != OURS:
        facts |= {"run_id": "1", "limit_factor": 1.0}
    metrics = {"ks": 0.5, "average_precision": 0.5, "log_loss": 0.3, "seconds": 9.0}
    done = facts | ({} if "error" in result else metrics | {"run_id": "1"}) | result
    file = folder / table / str(seed) / f"{system}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(done))


def run(folder, *arguments):
    output = folder / "report"
    output.mkdir(exist_ok=True)
    options = ["--folder", str(folder), "--output", str(output), "--profile", "quick", *arguments]
    return CliRunner().invoke(peers.main, options, catch_exceptions=False)


def test_report_ranks_the_cells_that_there_are(folder):
    write_cell(folder, "incomplete", "flaml", {"roc_auc": 0.99})
    done = run(folder, "--report")
    assert "| ml-pipes | 1.00 (1.00 to 1.00) | 2.50" in done.output
    assert "| flaml | 3.00 (2.00 to 4.00) | 2.50" in done.output
    assert "| a | ml-pipes | 1 | 0.9500 | 0.5000 | 0.5000 | 0.3000 | 9 |" in done.output
    assert (folder / "report" / "peers.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((folder / "report" / "peers.json").read_text())) == 9


def test_one_table_and_seed_has_no_interval(tmp_path):
    for system, auc in zip(SYSTEMS, AUC["a"], strict=True):
        write_cell(tmp_path, "a", system, {"roc_auc": auc})
    assert "| flaml | 4.00 | 2.50 | 2.50 | 2.50 | 1 |" in run(tmp_path, "--report").output


def test_intervals_come_from_tables_not_from_their_seeds(folder):
    """However many seeds: with two tables, a quarter of all draws has the same table twice."""
    for table, areas in AUC.items():
        for seed in range(50):
            for system, auc in zip(SYSTEMS, areas, strict=True):
                write_cell(folder, table, system, {"roc_auc": auc}, seed)
    assert "| flaml | 3.00 (2.00 to 4.00) |" in run(folder, "--report").output


def test_peers_of_an_earlier_run_are_left_out(folder):
    write_cell(folder, "a", OURS, {"roc_auc": 0.95, "run_id": "2"})
    done = run(folder, "--report")
    assert "| b | flaml |" in done.output
    assert "| a | flaml |" not in done.output


def test_tables_of_one_name_are_refused(folder):
    done = run(folder, "--tables", "x/bank.csv:deposit,bank.csv:loan")
    assert done.exit_code == 2
    assert "several tables are called bank" in done.output


def test_failed_systems_rank_last_and_are_named(folder):
    write_cell(folder, "a", OURS, {"error": "out of memory"})
    done = run(folder, "--report")
    assert "- a, seed 42, ml-pipes: out of memory" in done.output
    ranks = mean_ranks(list(peers.read_cells(folder)))
    assert ranks.loc[(OURS, "roc_auc"), "mean"] == 2.5
    assert ranks.loc[(OURS, "log_loss"), "mean"] == pytest.approx((4 + 2.5) / 2)


def test_ml_pipes_ranks_last_where_no_peer_was_run(folder):
    write_cell(folder, "a", OURS, {"error": "out of memory"})
    for system in SYSTEMS[1:]:
        write_cell(folder, "a", system, {"error": "no finished run of ml-pipes"})
    ranks = mean_ranks([cell for cell in peers.read_cells(folder) if cell["table"] == "a"])["mean"]
    assert ranks[OURS].tolist() == [4.0] * 4
    assert ranks["flaml"].tolist() == [2.0] * 4


def test_report_is_of_one_profile(folder):
    run(folder, "--report")
    before = (folder / "report" / "peers.json").read_text()
    done = run(folder, "--report", "--profile", "full")
    assert done.exit_code == 1
    assert "has no cell with profile=full" in done.output
    assert (folder / "report" / "peers.json").read_text() == before


def test_finished_cells_are_not_run_again(folder):
    before = {file: file.read_bytes() for file in folder.glob("*/*/*.json")}
    done = run(folder, "--tables", "a,b", "--seeds", "42")
    assert done.exit_code == 0
    assert before == {file: file.read_bytes() for file in folder.glob("*/42/*.json")}


def test_complete_cells_of_a_report_can_be_kept(folder):
    write_cell(folder, "incomplete", "flaml", {"roc_auc": 0.99})
    run(folder, "--report")
    write_cell(folder, "b", OURS, {"roc_auc": 0.75})  # newer than the report
    for table in ("a", "incomplete"):
        shutil.rmtree(folder / table)
    done = run(folder, "--report", "--resume")
    assert not (folder / "incomplete").exists()
    assert "| a | ml-pipes | 1 | 0.9500 |" in done.output
    assert "| b | ml-pipes | 1 | 0.7500 |" in done.output


def test_missing_cells_are_run_and_failures_do_not_stop_others(folder):
    """An absent file of ml-pipes fails at once, and so do peers without a run."""
    (folder / "a" / "42" / f"{OURS}.json").unlink()
    done = run(folder, "--tables", "a,b", "--seeds", "42")
    assert done.exit_code == 0
    assert "- a, seed 42, ml-pipes: 'a' is neither FILE:TARGET nor one of" in done.output
    assert "- a, seed 42, flaml: no finished run of ml-pipes" in done.output
    assert "| b | flaml | 1 | 0.8300 |" in done.output


def test_peers_get_raw_rows_and_no_label_of_a_test_row(tmp_path):
    (tmp_path / "splits").mkdir()
    task = tmp_path / "task"
    task.mkdir()
    splits = mixed_splits(tmp_path / "splits")
    peers.write_task(splits, task, limit=60.0, seed=42)
    assert {file.name for file in task.iterdir()} == {
        "task.json", "training.parquet", "test.parquet",
    }  # fmt: skip
    settings = json.loads((task / "task.json").read_text())
    assert set(settings) == {"target", "levels", "limit", "seed"}
    training, test = (read(task / f"{name}.parquet", settings) for name in ("training", "test"))
    assert list(test) == splits.names
    assert TARGET not in test
    assert len(training) == ROWS["training"] + ROWS["validation"]
    seen = np.concatenate([splits.training.y, splits.validation.y])
    assert training[TARGET].tolist() == seen.tolist()
    assert list(test["job"].cat.categories) == list(training["job"].cat.categories)
    assert test["Zip code (№)"].iloc[0] == splits.test.frame["Zip code (№)"].iloc[0]
    assert test["member"].dtype == float  # it has missing values
    assert pd.api.types.is_datetime64_dtype(test["since"])


def test_peer_process_runs_in_its_folder_without_the_tracking_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///labels.db")
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import json, os, sys\n"
        "facts = {'arguments': sys.argv[1:], 'folder': os.getcwd(), 'environ': dict(os.environ)}\n"
        "json.dump(facts, open('seen.json', 'w'))\n"
    )
    monkeypatch.setattr(peers.peer_fit, "__file__", str(spy))
    task = tmp_path / "task"
    task.mkdir()
    peers.fit(sys.executable, "flaml", task, limit=1)
    seen = json.loads((task / "seen.json").read_text())
    assert seen["arguments"] == ["flaml", str(task)]
    assert seen["folder"] == str(task)
    assert not any(name.startswith("MLFLOW_") for name in seen["environ"])
