"""Rollback to the previous champion, as one recorded step.

mlflow run . -e rollback
mlflow run . -e rollback -P model_name=credit-card-fraud
"""

import logging

import mlflow

from serving.errors import ScorerError
from serving.model.mlflow_model import SCORER_IN_MODEL
from serving.model.scorer import PortableScorer
from steps.registry.champion_changes import ROLLBACK, exclusive_champion_change, roll_back_to
from steps.registry.description import update_description
from steps.registry.history import log_champion_history
from steps.registry.versions import CHAMPION, PREVIOUS, download_version, find_version
from steps.runtime.active_run import active_run
from steps.runtime.entry_point import step
from steps.runtime.errors import RegistryError

logger = logging.getLogger("ml-pipes")


@step
def rollback(model_name: str) -> None:
    """Swap the aliases `champion` and `previous`; servers follow within seconds."""
    with exclusive_champion_change(model_name) as recovered:
        present = version_with_alias(model_name, CHAMPION)
        if any(change.by == ROLLBACK for change in recovered):
            logger.info(
                "completed an interrupted rollback of %s: version %s is champion; to go back "
                "further, run this again",
                model_name,
                present,
            )
            log_champion_history(model_name)
            update_description(model_name)
            return
        earlier = version_with_alias(model_name, PREVIOUS)
        if present == earlier:
            raise RegistryError(f"version {present} of {model_name} is already the champion")
        check_loadable(model_name, earlier)
        roll_back_to(model_name, earlier, instead_of=present, run_id=active_run().info.run_id)
        update_description(model_name)
    log_champion_history(model_name)
    mlflow.set_tags({"champion_version": earlier, "previous_version": present})
    logger.info("version %s of %s is champion again, instead of %s", earlier, model_name, present)


def version_with_alias(model_name: str, alias: str) -> str:
    """Return the number of the version with `alias`.

    Raises:
        RegistryError: no version has it.
    """
    version = find_version(model_name, alias)
    if version is None:
        raise RegistryError(
            f"no version of {model_name} has the alias {alias}: there is nothing to roll back"
        )
    return str(version.version)


def check_loadable(model_name: str, version: str) -> None:
    """Load the portable scorer of a version, so that no unusable version becomes champion.

    Raises:
        RegistryError: the version cannot be downloaded or loaded.
    """
    with download_version(model_name, version) as model:
        try:
            PortableScorer.load(model / SCORER_IN_MODEL)
        except ScorerError as error:
            raise RegistryError(
                f"version {version} of {model_name} cannot be loaded, so nothing changed: {error}"
            ) from error


if __name__ == "__main__":
    rollback()
