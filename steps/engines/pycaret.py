"""scikit-learn and LightGBM classifiers, fitted by PyCaret and compared on the given split.

mlflow run . -e train_pycaret -P data_run_id=RUN_ID
mlflow run . -e train_pycaret -P data_run_id=RUN_ID -P refit_of=CANDIDATE_RUN_ID
"""

import logging
import time
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from pycaret.classification import ClassificationExperiment
from pycaret.utils._dependencies import get_installed_modules
from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from steps.data.feature_frames import with_columns
from steps.engines.base import (
    Configuration,
    Engine,
    PreparedSplits,
    Split,
    TrainedModel,
    run_engine,
)
from steps.evaluation.metrics import METRICS, Floats
from steps.export.onnx_graphs import write_onnx
from steps.export.scikit_learn import classifier_graph
from steps.runtime.entry_point import step
from steps.runtime.errors import EngineError
from steps.runtime.progress import progress, timed
from steps.runtime.requirements import pinned

logger = logging.getLogger("ml-pipes")

CANDIDATES = 5
COMPARED_METRICS = {
    "KS": "ks",
    "ROC AUC": "roc_auc",
    "Average Precision": "average_precision",
    "Log Loss": "log_loss",
}
# Not compared any more; runs of earlier releases have them as candidates, which may be refitted.
RETIRED = {"Random Forest"}
# Its classifiers fit in memory, some of them on one core.
ROW_BUDGET = {"full": 500_000, "quick": 250_000}
HOLDOUT_ROWS = 5  # of each class, in the holdout that every experiment must have
MAX_LEAVES = 5_000  # of a deep tree
# Threads of OpenMP wait for each other in loops. On fewer values, rows times features, they gain
# little, and beside another busy program a second becomes minutes.
VALUES_FOR_THREADS = 1_000_000
# On at most so many values, the classifiers of the full profile are fitted in seconds: the quick
# profile compares them, too. See docs/decisions.md. Forests take long on many rows, even of few
# features, which count as MIN_FEATURES.
MAX_VALUES_FOR_FULL_PROFILE = 250_000
MIN_FEATURES = 10


class PyCaretEngine(Engine):
    """PyCaret; candidates are the best of a fixed set of classifiers."""

    name = "pycaret"

    def __init__(self, profile: str, seed: int) -> None:
        self._profile = profile
        self._seed = seed

    @property
    def row_budget(self) -> int:
        """The largest number of rows to fit on in the profile."""
        return ROW_BUDGET[self._profile]

    def search(self, splits: PreparedSplits) -> list[TrainedModel]:
        """Return the best classifiers by KS on the validation split, best first."""
        y = splits.training.y
        weight = float((y == 0).sum() / (y == 1).sum())
        profile = self._profile_for(splits.training)
        compared = compared_classifiers(profile, weight, self._seed)
        experiment = _experiment(splits.training, self._seed)
        models, metrics = {}, []
        with progress(f"PyCaret compares {len(compared)} classifiers"):
            for name, classifier in compared.items():
                configuration = self._configuration(name, profile, weight)
                start = time.monotonic()
                try:
                    model = _fit(
                        experiment, classifier, configuration, splits.training, splits.has_missing
                    )
                    found = _metrics(model, splits.validation)
                except EngineError as error:
                    logger.warning("%s", error)
                else:
                    models[name] = model
                    seconds = time.monotonic() - start
                    metrics.append({"Model": name} | found | {"Seconds": round(seconds, 1)})
        if not models:
            raise EngineError("PyCaret could not fit any classifier; see the warnings above")
        # PyCaret's own comparison would fit the best a second time, and would leave ties of KS,
        # which are frequent with few positives, in the order of the classifiers.
        board = pd.DataFrame(metrics).sort_values(
            ["KS", "Log Loss"], ascending=[False, True], ignore_index=True
        )
        mlflow.log_table(board.round(6), "pycaret_comparison.json")
        return [models[name] for name in board["Model"][:CANDIDATES]]

    def fit(self, configuration: Configuration, rows: Split) -> TrainedModel:
        """Fit the classifier of `configuration` on `rows`.

        The weight of positives is part of the configuration, so that the correction of the
        scores stays that of the first fit.
        """
        algorithm, weight = configuration["algorithm"], configuration["positive_weight"]
        classifier = classifiers(configuration["profile"], weight, configuration["seed"])[algorithm]
        experiment = _experiment(rows, configuration["seed"])
        with progress(f"PyCaret fits {algorithm} on {rows.name} rows"):
            return _fit(experiment, classifier, configuration, rows, rows.has_missing)

    def _profile_for(self, rows: Split) -> str:
        """Return the profile whose classifiers are compared on `rows`."""
        values = len(rows) * max(len(rows.features), MIN_FEATURES)
        return "full" if values <= MAX_VALUES_FOR_FULL_PROFILE else self._profile

    def _configuration(self, algorithm: str, profile: str, positive_weight: float) -> Configuration:
        return {
            "algorithm": algorithm,
            "profile": profile,
            "seed": self._seed,
            "positive_weight": positive_weight,
        }


def compared_classifiers(
    profile: str, positive_weight: float, seed: int
) -> dict[str, ClassifierMixin]:
    """Return the unfitted classifiers to compare, by name."""
    offered = classifiers(profile, positive_weight, seed)
    return {name: each for name, each in offered.items() if name not in RETIRED}


def classifiers(profile: str, positive_weight: float, seed: int) -> dict[str, ClassifierMixin]:
    """Return all unfitted classifiers by name, also those that are not compared any more.

    The parameters of most tree models survive few positives: with the libraries' defaults, a leaf
    of one or two frauds gets an extreme value, and the ranking collapses. The deep and shallow ones
    fit tables for which such trees are too small or too large. Trees are not weighted: their scores
    are shares, which a weight moves too far to be corrected afterwards.
    """
    full = profile == "full"
    trees = 300 if full else 50
    rounds = 500 if full else 100
    forest: dict[str, Any] = {"n_estimators": trees, "n_jobs": -1, "random_state": seed}
    boosting: dict[str, Any] = {
        "deterministic": True,
        "force_row_wise": True,
        "n_jobs": 0,  # as many threads as OpenMP is allowed
        "random_state": seed,
        "verbose": -1,
    }
    sampling: dict[str, Any] = {"colsample_bytree": 0.5, "subsample": 0.8, "subsample_freq": 1}
    return {
        "Logistic Regression": LogisticRegression(
            class_weight={0: 1.0, 1: positive_weight}, max_iter=1000
        ),
        "Linear Discriminant Analysis": LinearDiscriminantAnalysis(),
        "Quadratic Discriminant Analysis": QuadraticDiscriminantAnalysis(),
        "Naive Bayes": GaussianNB(),
        "Decision Tree": DecisionTreeClassifier(
            max_depth=6, min_samples_leaf=20, random_state=seed
        ),
        "Random Forest": RandomForestClassifier(
            **forest | {"n_estimators": trees // 3, "max_samples": 0.5}, min_samples_leaf=5
        ),
        "Extra Trees": ExtraTreesClassifier(**forest, min_samples_leaf=5),
        # Its leaves may hold a single row; without the bound, its export would grow with the rows.
        "Deep Extra Trees": ExtraTreesClassifier(**forest, max_leaf_nodes=MAX_LEAVES),
        "Hist Gradient Boosting": HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=rounds * 2 // 5,
            l2_regularization=10,
            early_stopping=False,  # it would hold rows out at random
            random_state=seed,
        ),
        "LightGBM": LGBMClassifier(
            **boosting,
            learning_rate=0.02 if full else 0.1,
            n_estimators=rounds,
            min_sum_hessian_in_leaf=1,
            reg_lambda=10,
        ),
        "Deep LightGBM": LGBMClassifier(
            **boosting,
            **sampling,
            learning_rate=0.03 if full else 0.1,
            n_estimators=rounds,
            num_leaves=127,
            min_child_samples=5,
            min_sum_hessian_in_leaf=0.1,
            reg_lambda=1,
        ),
        "Shallow LightGBM": LGBMClassifier(
            **boosting,
            **sampling,
            learning_rate=0.05 if full else 0.15,
            n_estimators=300 if full else 100,
            num_leaves=6,
            min_sum_hessian_in_leaf=0.1,
            reg_lambda=5,
        ),
    }


class Float64Experiment(ClassificationExperiment):
    """A PyCaret experiment that keeps float64 features; PyCaret would round them to float32."""

    def _prepare_dataset(self, X: pd.DataFrame, y: Any = None) -> pd.DataFrame:
        prepared: pd.DataFrame = super()._prepare_dataset(X, y)
        return with_columns(prepared, {name: X[name] for name in prepared.columns if name in X})


def _experiment(rows: Split, seed: int) -> ClassificationExperiment:
    """Return a PyCaret experiment that fits on `rows`.

    PyCaret requires a holdout, and scores it for each model: it gets a few of these rows.
    """
    experiment = Float64Experiment()
    holdout = rows.frame.groupby(rows.target).head(HOLDOUT_ROWS)
    # PyCaret would import Evidently for its version, which takes seconds.
    get_installed_modules().setdefault("evidently", None)
    with timed("data"):
        experiment.setup(
            data=rows.frame,
            test_data=holdout,
            target=rows.target,
            numeric_features=rows.features,
            index=False,
            numeric_imputation="median",
            normalize=True,
            session_id=seed,
            memory=False,  # it would leave a cache in the temporary folder
            system_log=False,
            html=False,
            verbose=False,
        )
    return experiment


def value_count(rows: Split) -> int:
    """Return the number of rows times the number of features."""
    return len(rows) * len(rows.features)


def _fit(
    experiment: ClassificationExperiment,
    classifier: ClassifierMixin,
    configuration: Configuration,
    rows: Split,
    has_missing: bool,
) -> TrainedModel:
    """Fit `classifier` with PyCaret on the rows of `experiment`, which are `rows`.

    Raises:
        EngineError: It could not be fitted.
    """
    # The rounding of linear algebra depends on the number of threads.
    threads = {"blas": 1}
    if value_count(rows) < VALUES_FOR_THREADS:
        threads["openmp"] = 1
    try:
        with threadpool_limits(threads):
            fitted = experiment.create_model(classifier, cross_validation=False, verbose=False)
    except Exception as error:  # of any library; the other classifiers go on
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise EngineError(
            f"PyCaret could not fit {configuration['algorithm']}: {reason}"
        ) from error
    return _trained_model(_pipeline(experiment, fitted), configuration, has_missing)


def _metrics(model: TrainedModel, validation: Split) -> dict[str, float]:
    """Return metrics of a model on the validation rows.

    Raises:
        EngineError: The model's scores are no probabilities.
    """
    y, scores = validation.y, model.scores(validation)
    return {title: float(METRICS[name](y, scores)) for title, name in COMPARED_METRICS.items()}


def _pipeline(experiment: ClassificationExperiment, classifier: ClassifierMixin) -> Pipeline:
    """Return PyCaret's fitted preprocessing and `classifier` as a plain scikit-learn pipeline."""
    steps = []
    for name, wrapper in experiment.get_config("pipeline").steps:
        transformer = getattr(wrapper, "transformer", wrapper)
        if name in ("numerical_imputer", "normalize"):
            steps.append((name, transformer))
        elif getattr(wrapper, "_include", None):
            raise EngineError(f"PyCaret added a step that cannot be exported: {name}")
    return Pipeline([*steps, ("classifier", classifier)])


def _trained_model(
    pipeline: Pipeline, configuration: Configuration, has_missing: bool
) -> TrainedModel:
    classifier = pipeline["classifier"]
    if hasattr(classifier, "n_jobs"):
        # Threads would add up a forest's shares in order of completion: last digits would vary.
        classifier.set_params(n_jobs=1)
    weighted = getattr(classifier, "class_weight", None) is not None

    def predict(split: Split) -> Floats:
        parts = [pipeline.predict_proba(batch[split.features])[:, 1] for batch in split.batches()]
        return np.concatenate(parts, dtype=np.float64)

    return TrainedModel(
        algorithm=configuration["algorithm"],
        configuration=configuration,
        positive_weight=configuration["positive_weight"] if weighted else 1.0,
        predict=predict,
        log_native=lambda rows: _log_native(pipeline, rows),
        export=lambda folder: _export(pipeline, folder, has_missing),
    )


def _is_no_advice_on_pickle(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Saving scikit-learn models in the pickle")


# Served champions hold no pickle.
logging.getLogger("mlflow.sklearn").addFilter(_is_no_advice_on_pickle)


def _log_native(pipeline: Pipeline, rows: pd.DataFrame) -> None:
    mlflow.sklearn.log_model(
        pipeline,
        name="native",
        serialization_format="cloudpickle",
        signature=mlflow.models.infer_signature(rows),
        pip_requirements=pinned("scikit-learn", "lightgbm", "pandas", "numpy"),
    )


def _export(pipeline: Pipeline, folder: Path, has_missing: bool) -> str:
    scaler = pipeline["normalize"]
    width = len(scaler.mean_)
    write_onnx(
        classifier_graph(pipeline["classifier"], width),
        folder,
        width,
        fill=pipeline["numerical_imputer"].statistics_ if has_missing else None,
        mean=scaler.mean_,
        scale=scaler.scale_,
    )
    return "onnx"


@step
def train_pycaret(data_run_id: str, profile: str, seed: int, refit_of: str) -> None:
    """Compare classifiers with PyCaret, or refit one of them."""
    run_engine(PyCaretEngine(profile, seed), data_run_id, refit_of)


if __name__ == "__main__":
    train_pycaret()
