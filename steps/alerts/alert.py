"""An alert: the beginning or the end of a finding."""

import json
from dataclasses import asdict, dataclass

FORMAT_VERSION = 1
STATES = {
    "drift": ("has drifted", "no longer drifts"),
    "degradation": ("performs below its floor", "no longer performs below its floor"),
}


@dataclass(frozen=True)
class Alert:
    """The beginning or the end of a finding.

    Attributes:
        event: "raised" or "resolved".
        finding: "drift" or "degradation".
        model: the name of the registered model.
        model_version: the version of its champion.
        reason: what was measured, in words.
        since: time of the first prediction of the window, ISO 8601.
        until: time of its last prediction, ISO 8601.
        predictions: the number of predictions in the window.
        run_id: the monitoring run.
        run_url: its page in MLflow; None without a tracking server.
    """

    event: str
    finding: str
    model: str
    model_version: str
    reason: str
    since: str
    until: str
    predictions: int
    run_id: str
    run_url: str | None

    @property
    def title(self) -> str:
        """The alert in a few words."""
        raised, resolved = STATES[self.finding]
        state = raised if self.event == "raised" else resolved
        return f"{self.model} version {self.model_version} {state}"

    def as_json(self) -> bytes:
        """Return the alert as a JSON object."""
        return json.dumps({"version": FORMAT_VERSION, "title": self.title} | asdict(self)).encode()

    def as_slack_message(self) -> bytes:
        """Return the alert as the body of an incoming webhook of Slack."""
        icon = ":rotating_light:" if self.event == "raised" else ":white_check_mark:"
        lines = [
            f"{icon} *{_escaped(self.title)}*",
            _escaped(self.reason),
            f"{self.predictions:,} predictions, {self.since} to {self.until}",
            f"<{self.run_url}|monitoring run>" if self.run_url else f"monitoring run {self.run_id}",
        ]
        return json.dumps({"text": "\n".join(lines)}).encode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
