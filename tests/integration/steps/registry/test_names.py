"""Names of registered models."""

import pytest
from mlflow import MlflowClient

from steps.registry.versions import check_name_is_free, get_champion
from steps.runtime.errors import ParameterError, RegistryError


@pytest.mark.usefixtures("empty_registry")
def test_name_of_a_prompt_is_refused():
    MlflowClient().register_prompt("greeting", "Hello {{name}}")
    with pytest.raises(ParameterError, match="'greeting' is the name of a prompt"):
        check_name_is_free("greeting")


@pytest.mark.usefixtures("empty_registry")
def test_free_and_used_names_are_accepted():
    MlflowClient().create_registered_model("used")
    for name in ("used", "free"):
        check_name_is_free(name)


@pytest.mark.usefixtures("empty_registry")
def test_missing_champion_names_a_command_for_the_shell():
    with pytest.raises(RegistryError, match=r"`mlflow run \. -P model_name='no such model'`"):
        get_champion("no such model")
