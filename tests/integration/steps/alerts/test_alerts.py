"""Alerts to a real HTTP server and to a real command."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import Mock

import mlflow
import pytest

from serving.errors import SettingsError
from steps.alerts import alerting, delivery
from steps.alerts.alerting import changes, send_alerts
from steps.alerts.settings import read_alert_settings
from steps.monitoring.drift import measure_drift
from steps.monitoring.findings import Findings
from steps.monitoring.runs import monitoring_run
from tests.support.monitoring import scored_window

pytestmark = pytest.mark.quick

MODEL = "fraud <&>"


class Receiver(ThreadingHTTPServer):
    """A webhook that answers with the given statuses, the last one for good."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = [200]
        self.received: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        # requests spells it in another way.
        return f"http://127.0.0.1:{self.server_port}/hooks/T0-secret-path/ä"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers), body))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def receiver(monkeypatch):
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("MLPIPES_ALERT_URL", server.url)
        monkeypatch.setattr(delivery, "BACKOFF", 0.01)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def findings(reference, manifest):
    """Findings with and without drift, by name."""
    windows = {"stable": scored_window(500), "drifted": scored_window(500, shift=3.0)}
    return {
        name: Findings(window, measure_drift(window, reference, manifest, 0.2, 0.3), "no labels")
        for name, window in windows.items()
    }


@pytest.fixture
def monitor(empty_registry, findings, request):
    """Return a function that records a monitoring run and returns its tags."""
    champion = Mock(version="7", registered=Mock())
    champion.registered.name = MODEL

    def run(name: str) -> dict[str, str]:
        with mlflow.start_run(), monitoring_run(request.node.name.replace("/", "-")) as active:
            mlflow.set_tags(findings[name].verdict_tags)
            send_alerts(read_alert_settings(), findings[name], champion, active)
        return mlflow.get_run(active.info.run_id).data.tags

    return run


def test_findings_are_told_once_and_when_they_end(receiver, monitor):
    for name in ("stable", "drifted", "drifted", "stable", "stable", "drifted"):
        tags = monitor(name)
    assert tags["open_alerts"] == "webhook:drift"
    told = [json.loads(body) for _, body in receiver.received]
    assert [(alert["event"], alert["finding"]) for alert in told] == [
        ("raised", "drift"),
        ("resolved", "drift"),
        ("raised", "drift"),
    ]
    assert told[0]["title"] == f"{MODEL} version 7 has drifted"
    assert told[1]["title"] == f"{MODEL} version 7 no longer drifts"
    assert told[0]["reason"].startswith("1 of 3 features have a PSI above 0.2 (V1 ")
    assert (told[0]["model"], told[0]["model_version"]) == (MODEL, "7")
    assert told[0]["predictions"] == 500
    assert (told[0]["since"], told[0]["until"]) == (
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T08:19:00+00:00",
    )


def test_failing_receiver_is_retried(receiver, monitor):
    receiver.statuses = [500, 503, 200]
    assert "alert_error" not in monitor("drifted")
    assert len(receiver.received) == 3
    assert len({body for _, body in receiver.received}) == 1


def test_alert_that_was_not_delivered_is_sent_by_the_next_run(receiver, monitor, caplog):
    receiver.statuses = [500]
    tags = monitor("drifted")
    assert tags["alert_error"] == "127.0.0.1 answered with status 500"
    assert tags["open_alerts"] == "none"
    assert "alert not delivered: fraud <&> version 7 has drifted" in caplog.text
    assert "secret-path" not in caplog.text + str(tags)
    receiver.statuses = [200]
    assert monitor("drifted")["open_alerts"] == "webhook:drift"


@pytest.mark.parametrize("status", [302, 400, 404])
def test_refusal_is_not_retried(receiver, monitor, status):
    receiver.statuses = [status]
    assert monitor("drifted")["alert_error"] == f"127.0.0.1 answered with status {status}"
    assert len(receiver.received) == 1


def test_unreachable_receiver_does_not_fail_the_monitoring(monitor, monkeypatch):
    monkeypatch.setattr(delivery, "BACKOFF", 0.01)
    monkeypatch.setenv("MLPIPES_ALERT_URL", "http://127.0.0.1:9/hooks/T0-secret-path")
    assert monitor("drifted")["alert_error"] == "127.0.0.1 cannot be reached: ConnectionError"


def test_posted_alert_is_signed(receiver, monitor, monkeypatch):
    monkeypatch.setenv("MLPIPES_ALERT_SECRET", "key")
    monitor("drifted")
    ((headers, body),) = receiver.received
    timestamp = headers["X-MLPipes-Timestamp"]
    assert headers["X-MLPipes-Signature"] == delivery.signature("key", timestamp, body)
    assert headers["X-MLPipes-Signature"] != delivery.signature("other", timestamp, body)


def test_slack_takes_the_alert(receiver, monitor, monkeypatch):
    monkeypatch.setenv("MLPIPES_ALERT_FORMAT", "slack")
    monitor("drifted")
    ((_, body),) = receiver.received
    content = json.loads(body)
    assert list(content) == ["text"]
    assert "*fraud &lt;&amp;&gt; version 7 has drifted*" in content["text"]


@pytest.mark.parametrize(
    ("server", "page"),
    [
        ("http://me:secret@mlflow:5000/", "http://mlflow:5000/#/experiments/3/runs/abc"),
        ("https://example.com/mlflow", "https://example.com/mlflow/#/experiments/3/runs/abc"),
        ("sqlite:///mlflow.db", None),
    ],
)
def test_page_of_the_run_has_no_credentials(monkeypatch, server, page):
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: server)
    run = Mock()
    run.info.experiment_id, run.info.run_id = "3", "abc"
    monkeypatch.delenv("MLPIPES_MLFLOW_URL", raising=False)
    assert alerting.page_of(run) == page
    monkeypatch.setenv("MLPIPES_MLFLOW_URL", "https://published.example.com")
    published = "https://published.example.com/#/experiments/3/runs/abc"
    assert alerting.page_of(run) == published


def test_command_gets_the_alert(monitor, monkeypatch, tmp_path):
    file = tmp_path / "alert file.json"
    program = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    monkeypatch.setenv("MLPIPES_ALERT_COMMAND", f'{sys.executable} -c "{program}" "{file}"')
    assert monitor("drifted")["open_alerts"] == "command:drift"
    assert json.loads(file.read_text())["finding"] == "drift"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/no/such/program", "/no/such/program cannot be run: "),
        ("sh -c 'echo no route >&2; exit 3'", "sh ended with status 3: no route"),
    ],
)
def test_failing_command_does_not_fail_the_monitoring(monitor, monkeypatch, command, reason):
    monkeypatch.setenv("MLPIPES_ALERT_COMMAND", command)
    tags = monitor("drifted")
    assert tags["alert_error"].startswith(reason)
    assert tags["open_alerts"] == "none"


def test_each_receiver_is_told_when_a_finding_ends(receiver, monitor, monkeypatch):
    monkeypatch.setenv("MLPIPES_ALERT_COMMAND", "false")
    assert monitor("drifted")["open_alerts"] == "webhook:drift"
    assert monitor("stable")["open_alerts"] == "none"
    assert [json.loads(body)["event"] for _, body in receiver.received] == ["raised", "resolved"]


def test_nothing_is_sent_without_receiver(monitor):
    assert "open_alerts" not in monitor("drifted")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("URL", "slack.example/T0-secret", "must be an HTTP or HTTPS URL"),
        ("URL", "file:///etc/passwd", "must be an HTTP or HTTPS URL"),
        ("FORMAT", "xml", "Input should be 'json' or 'slack'"),
        ("COMMAND", "notify 'me", "must be a command: No closing quotation"),
        ("COMMAND", "  ", "must be a command"),
    ],
)
def test_invalid_setting_is_one_line(monkeypatch, name, value, reason):
    monkeypatch.setenv(f"MLPIPES_ALERT_{name}", value)
    with pytest.raises(SettingsError) as caught:
        read_alert_settings()
    assert str(caught.value) == f"MLPIPES_ALERT_{name}: {reason}"


def test_unknown_verdict_changes_nothing():
    verdicts = {"drift_detected": "unknown", "performance_degraded": "true"}
    assert changes({"drift"}, verdicts) == {"degradation": "raised"}
    assert changes({"drift", "degradation"}, verdicts) == {}
