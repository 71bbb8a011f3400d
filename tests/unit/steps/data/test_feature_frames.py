"""Typed frames of features of tables."""

import numpy as np
import pandas as pd
import pytest

from serving.errors import InputError
from serving.model.features import Feature
from steps.data.feature_frames import typed_frame

pytestmark = pytest.mark.quick


def test_numbers_of_earlier_releases_are_unchanged():
    rows = pd.DataFrame({"V1": [0.1, np.nan], "V2": [1e300, -0.0]})
    features = [Feature("V2"), Feature("V1")]
    pd.testing.assert_frame_equal(typed_frame(rows, features), rows[["V2", "V1"]])
    with pytest.raises(InputError, match="missing column V3"):
        typed_frame(rows, [Feature("V3")])
