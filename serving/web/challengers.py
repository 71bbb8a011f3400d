"""Watch on the registry that keeps the current challenger loaded."""

import logging

from serving.settings import REGISTERED
from serving.web import metrics
from serving.web.champions import ChampionWatch

logger = logging.getLogger("ml-pipes")


class ChallengerWatch(ChampionWatch):
    """Loads each new challenger, and releases it once the registry has none."""

    _use = "scoring in the shadow with"
    _load_failures = metrics.SHADOW_LOAD_FAILURES

    @property
    def uri(self) -> str:
        """The URI that is followed."""
        return self._uri

    @property
    def model_name(self) -> str | None:
        """The name of the registered model in this URI."""
        registered = REGISTERED.fullmatch(self._uri)
        return registered["name"] if registered else None

    def _handle_absence(self) -> None:
        """Release the challenger: it was promoted or withdrawn, or there has never been one."""
        changed = self._champion is not None or not self._polled.is_set()
        with self._swapping:
            self._champion = None
        registered = REGISTERED.fullmatch(self._uri)
        if registered and registered["version"]:
            self._report(f"{self._uri} is not registered")
            return
        self._report(None)
        if changed:
            logger.warning("shadow: no version is %s; waiting for one", self._uri)
