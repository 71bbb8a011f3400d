"""Local copy of the champion's portable scorer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.model.mlflow_model import SCORER_IN_MODEL
from serving.model.prediction import ModelIdentity
from serving.model.scorer import PortableScorer
from steps.registry.versions import download_version, get_champion


@dataclass(frozen=True)
class ChampionScorer:
    """The champion's portable scorer and the folder that it was loaded from."""

    identity: ModelIdentity
    folder: Path
    scorer: PortableScorer

    def __str__(self) -> str:
        return f"{self.identity.name} version {self.identity.version}"


@contextmanager
def load_champion_scorer(model_name: str) -> Iterator[ChampionScorer]:
    """Download and load the champion of `model_name`; delete the copy on exit.

    Raises:
        RegistryError: there is no champion, or it cannot be read.
    """
    version = get_champion(model_name)
    identity = ModelIdentity(model_name, str(version.version), version.run_id)
    with download_version(model_name, str(version.version)) as model:
        folder = model / SCORER_IN_MODEL
        yield ChampionScorer(identity, folder, PortableScorer.load(folder))
