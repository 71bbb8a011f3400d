"""Parameter types that click does not provide."""

import click
import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_model_name

from steps.runtime.parameter_types import as_text, column_list, model_name

pytestmark = pytest.mark.quick

NAMES = ("fraud", "a fraud.v2_x-1", ".a", "a..", "-", "ä", ".", "..", "..a", "...", ".. a", "",
         " ", "a/b", "a:b", "a'b", "a\nb", "a" * 256)  # fmt: skip


def refused(check, name: str) -> bool:
    try:
        check(name)
    except (click.BadParameter, MlflowException):
        return True
    return False


def test_model_names_that_the_registry_refuses_are_refused():
    """Before the training, not after it."""
    assert [name for name in NAMES if not refused(model_name, name)] == list(NAMES[:6])
    assert not [name for name in NAMES[:6] if refused(_validate_model_name, name)]
    for name in (".", "..", "..a", "...", ".. a", "", " ", "a/b", "a:b"):
        assert refused(_validate_model_name, name), name


def test_lists_of_columns_keep_names_of_any_text():
    """A retraining passes on the names that the first training was given."""
    names = [" lead", "trail ", 'a "b"', '"', "a,b", "two\nlines", "plain", "größe", "' '"]
    assert column_list(as_text(names)) == names
    assert column_list(' a , "b" ,, c d ,a') == ["a", "b", "c d"]
    assert column_list("") == []


@pytest.mark.parametrize("text", ['"a', 'a,"b', '"a"b', '"a" "b"'])
def test_open_quotes_in_a_list_of_columns_are_refused(text):
    assert refused(column_list, text)
