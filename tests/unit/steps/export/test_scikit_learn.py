"""Graphs of scikit-learn classifiers."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import AdaBoostClassifier, ExtraTreesClassifier, GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier

from serving.model.runtimes import load_runtime
from steps.export.onnx_graphs import write_onnx
from steps.export.scikit_learn import classifier_graph
from steps.runtime.errors import ExportError

pytestmark = pytest.mark.quick

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(300, 4))
Y = (X[:, 0] + RANDOM.normal(size=300) > 1).astype(int)


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        ExtraTreesClassifier(10, random_state=0),
        GaussianNB(),
        QuadraticDiscriminantAnalysis(),
        MLPClassifier((5,), max_iter=300, random_state=0),
    ],
    ids=lambda classifier: type(classifier).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_classifier_graph_equals_classifier(classifier, tmp_path):
    classifier.fit(X, Y)
    write_onnx(classifier_graph(classifier, 4), tmp_path, 4)
    scores = load_runtime("onnx", tmp_path, list("abcd")).probability(X)
    np.testing.assert_allclose(scores, classifier.predict_proba(X)[:, 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [GradientBoostingClassifier, AdaBoostClassifier])
@pytest.mark.filterwarnings("ignore:The SAMME.R algorithm:FutureWarning")
def test_classifier_graph_refuses_float32_conversion(kind):
    classifier = kind(n_estimators=3).fit(X, Y)
    with pytest.raises(ExportError, match=f"{kind.__name__} in float32 only"):
        classifier_graph(classifier, 4)
