"""Let PyCaret compare scikit-learn and LightGBM classifiers on the given split.

mlflow run . -e train_pycaret -P data_run_id=RUN_ID
mlflow run . -e train_pycaret -P data_run_id=RUN_ID -P refit_of=CANDIDATE_RUN_ID
"""

import logging
import sys
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import onnx
import pandas as pd
from lightgbm import LGBMClassifier
from pycaret.classification import ClassificationExperiment
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType
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

from steps.pipeline.candidates import (
    Configuration,
    Fitted,
    read_configuration,
    record_candidate,
    record_refit,
)
from steps.pipeline.errors import EngineError, ExportError
from steps.pipeline.evaluation import ks
from steps.pipeline.export import linear_graph, write_onnx
from steps.pipeline.progress import progress, spent_on
from steps.pipeline.requirements import pinned
from steps.pipeline.splits import Splits, open_splits
from steps.pipeline.step import step
from steps.pipeline.trees import Tree, ensemble_graph

log = logging.getLogger("ml-pipes")

ENGINE = "pycaret"
CANDIDATES = 5


@step
def train_pycaret(data_run_id: str, profile: str, seed: int, refit_of: str) -> None:
    """Compare classifiers with PyCaret, or fit one of them again on more rows."""
    configuration = read_configuration(refit_of, ENGINE) if refit_of else None
    with open_splits(data_run_id) as splits:
        if configuration is not None:
            record_refit(ENGINE, refit(splits, configuration), splits, refit_of)
        else:
            for fitted in compare(splits, profile, seed):
                record_candidate(ENGINE, fitted, splits)


def classifiers(profile: str, positive_weight: float, seed: int) -> dict[str, ClassifierMixin]:
    """Return the classifiers to compare, unfitted, by name.

    Boosting and forests carry parameters that survive few positives: with the libraries'
    defaults a leaf of one or two frauds gets an extreme value, and the ranking collapses.
    Trees are not weighted: their scores are shares, which a weight moves too far to be
    corrected afterwards.
    """
    trees = 300 if profile == "full" else 50
    rounds = 500 if profile == "full" else 100
    forest = {"n_estimators": trees, "min_samples_leaf": 5, "n_jobs": -1, "random_state": seed}
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
            **forest | {"n_estimators": trees // 3, "max_samples": 0.5}
        ),
        "Extra Trees": ExtraTreesClassifier(**forest),
        "Hist Gradient Boosting": HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=rounds * 2 // 5,
            l2_regularization=10,
            early_stopping=False,  # it would set rows aside at random
            random_state=seed,
        ),
        "LightGBM": LGBMClassifier(
            learning_rate=0.02 if profile == "full" else 0.1,
            n_estimators=rounds,
            min_sum_hessian_in_leaf=1,
            reg_lambda=10,
            deterministic=True,
            force_row_wise=True,
            n_jobs=-1,
            random_state=seed,
            verbose=-1,
        ),
    }


def compare(splits: Splits, profile: str, seed: int) -> list[Fitted]:
    """Return the best classifiers by KS on the validation split, best first."""
    y = splits.training.y
    positive_weight = float((y == 0).sum() / (y == 1).sum())
    offered = classifiers(profile, positive_weight, seed)
    experiment = _experiment(splits, seed)
    with progress(f"PyCaret compares {len(offered)} classifiers"):
        best = experiment.compare_models(
            include=list(offered.values()),
            cross_validation=False,
            sort="KS",
            n_select=CANDIDATES,
            verbose=False,
        )
    board = experiment.pull()
    mlflow.log_table(board.round(4).reset_index(drop=True), "pycaret_comparison.json")
    # PyCaret calls them by their places.
    missing = [name for place, name in enumerate(offered) if str(place) not in board.index]
    if missing:
        log.warning("PyCaret could not fit %s; see its messages above", ", ".join(missing))
    if not best:
        raise EngineError("PyCaret could fit no classifier; see its messages above")
    preprocessing = _plain_steps(experiment.get_config("pipeline"))
    names = {type(classifier): name for name, classifier in offered.items()}
    fitted = []
    for model in best if isinstance(best, list) else [best]:
        algorithm = names[type(model)]
        configuration = {
            "algorithm": algorithm,
            "profile": profile,
            "seed": seed,
            "positive_weight": positive_weight,
        }
        pipeline = Pipeline([*preprocessing, ("classifier", model)])
        fitted.append(_fitted(pipeline, configuration, splits))
    return fitted


def refit(splits: Splits, configuration: Configuration) -> Fitted:
    """Return the classifier of `configuration`, fitted on training and validation rows.

    The weight of positives is part of the configuration, so the correction of the scores
    stays that of the first fit.
    """
    settings = dict(configuration)
    algorithm = settings.pop("algorithm")
    classifier = classifiers(**settings)[algorithm]
    experiment = _experiment(splits, settings["seed"])
    with progress(f"PyCaret fits {algorithm} on training and validation rows"):
        whole = experiment.finalize_model(classifier)
    return _fitted(Pipeline(_plain_steps(whole)), configuration, splits)


class Float64Experiment(ClassificationExperiment):
    """A PyCaret experiment on the rows as they are: PyCaret would round them to float32."""

    def _prepare_dataset(self, X: pd.DataFrame, y: Any = None) -> pd.DataFrame:
        prepared: pd.DataFrame = super()._prepare_dataset(X, y)
        return prepared.assign(**{name: X[name] for name in prepared.columns if name in X})


def _experiment(splits: Splits, seed: int) -> ClassificationExperiment:
    """Return a PyCaret experiment whose only holdout is the validation split."""
    experiment = Float64Experiment()
    with spent_on("data"):
        experiment.setup(
            data=splits.training.frame,
            test_data=splits.validation.frame,
            target=splits.target,
            numeric_features=splits.names,
            index=False,
            numeric_imputation="median",
            normalize=True,
            session_id=seed,
            memory=False,  # it would leave a cache in the temporary folder
            system_log=_errors_only(),
            html=False,
            verbose=False,
        )
    experiment.add_metric("ks", "KS", _ks_of_probabilities, target="pred_proba")
    return experiment


def _errors_only() -> logging.Logger:
    """Return what PyCaret writes its log to: a line for each classifier that fails."""
    errors = log.getChild("pycaret")
    errors.setLevel(logging.ERROR)
    errors.addFilter(_with_reason)
    return errors


def _with_reason(record: logging.LogRecord) -> bool:
    """Say in one line what PyCaret says in two records: what failed, and a traceback."""
    text = " ".join(str(record.msg).split())
    record.msg = f"{text} {sys.exc_info()[1]!r}"
    return not text.startswith("Traceback")


def _ks_of_probabilities(y: Any, probability: Any, **_: Any) -> float:
    return ks(np.asarray(y), np.asarray(probability))


def _plain_steps(pipeline: Any) -> list[tuple[str, Any]]:
    """Return the fitted scikit-learn steps inside PyCaret's pipeline, without its wrappers."""
    names = {"actual_estimator": "classifier"}
    steps = []
    for name, wrapper in pipeline.steps:
        transformer = getattr(wrapper, "transformer", wrapper)
        if name in ("numerical_imputer", "normalize", "actual_estimator"):
            steps.append((names.get(name, name), transformer))
        elif getattr(wrapper, "_include", None):
            raise EngineError(f"PyCaret added a step that cannot be exported: {name}")
    return steps


def _fitted(pipeline: Pipeline, configuration: Configuration, splits: Splits) -> Fitted:
    algorithm = configuration["algorithm"]
    classifier = pipeline["classifier"]
    if hasattr(classifier, "n_jobs"):
        # Threads would add up a forest's shares in the order in which they end: last digits vary.
        classifier.set_params(n_jobs=1)
    weighted = getattr(classifier, "class_weight", None) is not None
    with spent_on("judging"):
        probability = pipeline.predict_proba(splits.validation.X)[:, 1].astype(np.float64)
    return Fitted(
        algorithm=algorithm,
        configuration=configuration,
        positive_weight=configuration["positive_weight"] if weighted else 1.0,
        probability=probability,
        log_native=lambda: _log_native(pipeline, splits),
        export=lambda folder: _export(pipeline, folder, splits),
    )


def _log_native(pipeline: Pipeline, splits: Splits) -> None:
    mlflow.sklearn.log_model(
        pipeline,
        name="native",
        serialization_format="cloudpickle",
        signature=mlflow.models.infer_signature(splits.validation.X.head(100)),
        pip_requirements=pinned("scikit-learn", "lightgbm", "pandas", "numpy"),
    )


def _export(pipeline: Pipeline, folder: Path, splits: Splits) -> str:
    width = len(splits.names)
    fill = pipeline["numerical_imputer"].statistics_ if splits.has_missing else None
    scaler = pipeline["normalize"]
    graph = _convert(pipeline["classifier"], width)
    write_onnx(graph, folder, width, fill=fill, mean=scaler.mean_, scale=scaler.scale_)
    return "onnx"


def _convert(classifier: ClassifierMixin, width: int) -> onnx.ModelProto:
    """Return the float64 ONNX graph of a classifier.

    Raises:
        ExportError: its kind cannot be converted.
    """
    match classifier:
        case LogisticRegression() | LinearDiscriminantAnalysis():
            return linear_graph(classifier.coef_[0], classifier.intercept_[0])
        case DecisionTreeClassifier():
            return ensemble_graph([_sklearn_tree(classifier)], width, float32_features=True)
        case RandomForestClassifier() | ExtraTreesClassifier():
            trees = [_sklearn_tree(tree) for tree in classifier.estimators_]
            return ensemble_graph(trees, width, scale=1 / len(trees), float32_features=True)
        case HistGradientBoostingClassifier():
            trees = [_hist_tree(tree.nodes) for (tree,) in classifier._predictors]
            base = float(classifier._baseline_prediction.item())
            return ensemble_graph(trees, width, base=base, logistic=True)
        case LGBMClassifier():
            dump = classifier.booster_.dump_model()["tree_info"]
            trees = [_lightgbm_tree(tree["tree_structure"]) for tree in dump]
            return ensemble_graph(trees, width, logistic=True)
    try:
        return to_onnx(
            classifier,
            initial_types=[("rows", DoubleTensorType([None, width]))],
            options={id(classifier): {"zipmap": False}},
            target_opset={"": 17, "ai.onnx.ml": 3},
        )
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise ExportError(f"skl2onnx cannot convert it: {error}") from error


def _sklearn_tree(classifier: Any) -> Tree:
    tree = classifier.tree_
    shares = tree.value[:, 0, :]
    return Tree(
        feature=np.where(tree.children_left < 0, -1, tree.feature),
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        value=shares[:, 1] / shares.sum(axis=1),
    )


def _hist_tree(nodes: Any) -> Tree:
    return Tree(
        feature=np.where(nodes["is_leaf"], -1, nodes["feature_idx"]),
        threshold=nodes["num_threshold"],
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        value=nodes["value"],
    )


def _lightgbm_tree(root: dict[str, Any]) -> Tree:
    """Return LightGBM's nested nodes as arrays, parents before children."""
    nodes: list[tuple[int, float, int, int, float]] = []

    def add(node: dict[str, Any]) -> int:
        place = len(nodes)
        nodes.append((-1, 0.0, -1, -1, node.get("leaf_value", 0.0)))
        if "split_feature" in node:
            left, right = add(node["left_child"]), add(node["right_child"])
            nodes[place] = (node["split_feature"], node["threshold"], left, right, 0.0)
        return place

    add(root)
    feature, threshold, left, right, value = map(np.array, zip(*nodes, strict=True))
    return Tree(feature, threshold, left, right, value)


if __name__ == "__main__":
    train_pycaret()
