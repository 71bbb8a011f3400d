"""Record of the newest finished run of `main`, for the documentation.

make run && python -m benchmarks.record_result && python -m tests.support.generated_files
"""

import json
import os
from pathlib import Path

import mlflow

from steps.selection.leaderboard import read_leaderboard

DOCS = Path(__file__).resolve().parents[1] / "docs"


def record() -> None:
    """Write docs/result.json and docs/leaderboard.png."""
    main, *_ = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="attributes.run_name = 'main' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
        output_format="list",
    )
    selection, *_ = mlflow.search_runs(
        [main.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{main.info.run_id}' and "
        "attributes.run_name = 'select_champion'",
        output_format="list",
    )
    board = read_leaderboard(selection.info.run_id)
    test = {
        name.removeprefix("test_"): value
        for name, value in selection.data.metrics.items()
        if name.startswith("test_")
    }
    result = {
        "minutes": (main.info.end_time - main.info.start_time) / 60_000,
        "cores": os.cpu_count(),
        "champion": selection.data.tags["algorithm"],
        "test": test,
        "leaderboard": board.drop(columns="run_id").to_dict("records"),
    }
    (DOCS / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    mlflow.artifacts.download_artifacts(
        run_id=main.info.run_id, artifact_path="plots/leaderboard.png", dst_path=str(DOCS)
    )


if __name__ == "__main__":
    record()
