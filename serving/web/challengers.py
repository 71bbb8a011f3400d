"""Watch on the registry that keeps the current challenger loaded."""

from serving.web import metrics
from serving.web.champions import ChampionWatch


class ChallengerWatch(ChampionWatch):
    """Loads each new challenger, and releases it once the registry has none."""

    _use = "scoring in the shadow with"
    _load_failures = metrics.SHADOW_LOAD_FAILURES

    def _handle_absence(self) -> None:
        """Release the challenger, which was promoted or withdrawn."""
        with self._swapping:
            self._champion = None
        self._report(None)
