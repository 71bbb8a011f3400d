"""Put the champion before the present one back, as one recorded step.

mlflow run . -e rollback
mlflow run . -e rollback -P model_name=credit-card-fraud
"""

import logging

import mlflow

from serving.errors import ScorerError
from serving.registry import SCORER_IN_MODEL
from serving.scorer import PortableScorer
from steps.pipeline import ledger
from steps.pipeline.errors import RegistryError
from steps.pipeline.registry import (
    CHAMPION,
    PREVIOUS,
    ROLLBACK,
    downloaded,
    find_version,
    one_selection,
    put_back,
)
from steps.pipeline.step import step

log = logging.getLogger("ml-pipes")


@step
def rollback(model_name: str) -> None:
    """Swap the aliases `champion` and `previous`; servers follow within seconds."""
    run = mlflow.active_run()
    assert run is not None, "a step is a run"
    with one_selection(model_name) as finished:
        if any(change.by == ROLLBACK for change in finished):
            log.info(
                "an interrupted rollback of %s is finished: version %s is champion; to go back "
                "from it, run this again",
                model_name, number_of(model_name, CHAMPION),
            )  # fmt: skip
            ledger.log_history(model_name)
            return
        present, earlier = (number_of(model_name, alias) for alias in (CHAMPION, PREVIOUS))
        if present == earlier:
            raise RegistryError(f"version {present} of {model_name} is champion already")
        check_that_it_serves(model_name, earlier)
        put_back(model_name, earlier, instead_of=present, run_id=run.info.run_id)
    ledger.log_history(model_name)
    mlflow.set_tags({"champion_version": earlier, "previous_version": present})
    log.info("version %s of %s is champion again, instead of %s", earlier, model_name, present)


def number_of(model_name: str, alias: str) -> str:
    """Return the number of the version with `alias`.

    Raises:
        RegistryError: there is none.
    """
    version = find_version(model_name, alias)
    if version is None:
        raise RegistryError(f"no version of {model_name} has the alias {alias}: nothing to go back")
    return str(version.version)


def check_that_it_serves(model_name: str, version: str) -> None:
    """Load the portable scorer of a version, before anyone is asked to serve it.

    Raises:
        RegistryError: it cannot be loaded.
    """
    with downloaded(model_name, version) as model:
        try:
            PortableScorer.load(model / SCORER_IN_MODEL)
        except ScorerError as error:
            raise RegistryError(
                f"version {version} of {model_name} cannot serve, so nothing changed: {error}"
            ) from error


if __name__ == "__main__":
    rollback()
