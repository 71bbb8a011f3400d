"""A model with a feature of each kind, rows for it and their exact scores."""

from pathlib import Path

import numpy as np
import pytest

from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.preparation import Encoding
from steps.export.onnx_graphs import linear_graph, write_onnx

ID_COLUMN = "customerID"
FEATURES = (
    Feature("zip", "category", nullable=True, levels=("007", "12345", "1")),
    Feature("since", "date", nullable=True, format="%d.%m.%Y"),
    Feature("member", "boolean", nullable=True, levels=("No", "Yes")),
    Feature("active", "boolean"),
    Feature("paid", "boolean", nullable=True),
    Feature("Charges ($)", nullable=True, text=True),
    Feature("id", nullable=True),
)
ENCODINGS = (
    Encoding(
        "zip",
        ("zip",),
        levels={"007": (1.0,), "12345": (2.0,), "1": (3.0,)},
        missing=(5.0,),
        unseen=(4.0,),
    ),
    Encoding("since", ("year",), parts=("year",)),
)
FILL = np.array([0.0, 2020.0, 0.5, 0.0, 0.5, 10.0, 2.0])
WEIGHTS = np.array([0.5, 0.25, 1.0, -0.5, 0.75, 0.125, -1.0])
INTERCEPT = -506.0
EXAMPLE = {
    "zip": ["007", "1"],
    "since": ["2022-05-31", None],
    "member": ["Yes", None],
    "active": [True, False],
    "paid": [None, True],
    "Charges ($)": [12.5, None],
    "id": [1.0, None],
    ID_COLUMN: ["a", "b"],
}
# What the model's input is for the rows of the example, NaN filled.
EXAMPLE_MATRIX = np.array(
    [[1.0, 2022.0, 1.0, 1.0, 0.5, 12.5, 1.0], [3.0, 2020.0, 0.5, 0.0, 1.0, 10.0, 2.0]]
)


def mixed_model_scores(matrix):
    return 1 / (1 + np.exp(-(matrix @ WEIGHTS + INTERCEPT)))


EXAMPLE_SCORES = mixed_model_scores(EXAMPLE_MATRIX)


def write_mixed_scorer(scorer: Path) -> None:
    """Write the portable scorer."""
    scorer.mkdir(parents=True)
    write_onnx(linear_graph(WEIGHTS, INTERCEPT), scorer, len(FILL), fill=FILL)
    Manifest(
        "onnx",
        FEATURES,
        threshold=0.5,
        encodings=ENCODINGS,
        id_column=ID_COLUMN,
        target="left",
        classes=("stayed", "left"),
        example=EXAMPLE,
    ).write(scorer)


@pytest.fixture(scope="session")
def mixed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an MLflow model with a feature of each kind."""
    folder = tmp_path_factory.mktemp("mixed")
    write_mixed_scorer(folder / "artifacts" / "scorer")
    (folder / "MLmodel").write_text("run_id: abc\n")
    return folder
