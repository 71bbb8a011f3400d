"""The demo's traffic, before a service whose answers are planned."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from unittest.mock import Mock

import pandas as pd
import pytest

from steps.demo_scenario import loop, traffic
from steps.demo_scenario.loop import new_champion
from steps.demo_scenario.outcome import count_lost
from steps.demo_scenario.traffic import BACKGROUND_ROWS_PER_REQUEST, ROWS_PER_REQUEST, Traffic
from steps.runtime.errors import EngineError
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows, stored_ids
from tests.support.waiting import wait_until

pytestmark = pytest.mark.quick

ROWS = pd.DataFrame({"V1": range(4 * ROWS_PER_REQUEST), "Class": 0, "Time": 0.0})
DROPPED, REFUSED, MALFORMED = "no answer", "status 503", "no predictions"


class PlannedService(HTTPServer):
    """Deals with each request as `plan` says, the last entry for all that follow.

    An entry that is none of the above is the version that answers.
    """

    def __init__(self, plan: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), PlannedHandler)
        self.plan = plan
        self.url = f"http://127.0.0.1:{self.server_port}"

    def next(self) -> str:
        return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]


class PlannedHandler(BaseHTTPRequestHandler):
    server: PlannedService

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        entry = self.server.next()
        if entry == DROPPED:
            return
        answer: dict[str, object] = {}
        if entry not in (REFUSED, MALFORMED):
            predictions = [{"prediction_id": f"of-{id_}"} for id_ in json.loads(content)["id"]]
            answer = {"predictions": predictions, "model": {"version": entry}}
        self.send_response(503 if entry == REFUSED else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def planned_service(monkeypatch) -> Iterator[PlannedService]:
    monkeypatch.setattr(traffic, "BACKGROUND_PAUSE_SECONDS", 0.01)
    with PlannedService(["1"]) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_sent_rows_are_answered_or_refused(planned_service):
    planned_service.plan = ["1", DROPPED, REFUSED, "2"]
    client = Traffic(planned_service.url)
    client.send(ROWS)
    assert (client.sent, len(client.answered), client.refused) == (200, 100, 100)
    assert client.versions == ["1", "2"]


def test_traffic_continues_until_new_version(planned_service):
    planned_service.plan = ["1"] * 20 + ["2"]
    stream = Traffic(planned_service.url)
    with stream.in_background(ROWS) as sender:
        stream.wait_for_version("2", sender)
    assert stream.versions == ["1", "2"]
    assert 20 * BACKGROUND_ROWS_PER_REQUEST < stream.sent == len(stream.answered) < len(ROWS)
    assert stream.answered == [f"of-demo-{number}" for number in range(stream.sent)]


def test_returning_version_is_recorded(planned_service):
    planned_service.plan = ["1", "2", "1", "1"]
    client = Traffic(planned_service.url)
    client.send(ROWS)
    assert client.versions == ["1", "2", "1"]


def test_traffic_continues_after_refusals(planned_service):
    planned_service.plan = [DROPPED, "1", REFUSED, "2"]
    stream = Traffic(planned_service.url)
    with stream.in_background(ROWS) as sender:
        stream.wait_for_version("2", sender)
    assert stream.refused == 2 * BACKGROUND_ROWS_PER_REQUEST
    assert stream.sent == len(stream.answered) + stream.refused


def test_traffic_error_is_raised_immediately(planned_service):
    planned_service.plan = [MALFORMED]
    stream = Traffic(planned_service.url)
    began = time.monotonic()
    with pytest.raises(KeyError, match="predictions"), stream.in_background(ROWS) as sender:
        stream.wait_for_version("2", sender)
    with pytest.raises(KeyError, match="predictions"), stream.in_background(ROWS) as sender:
        wait_until(sender.done, 10)
    assert time.monotonic() - began < 10


def test_traffic_exhausted_before_new_version(planned_service):
    stream = Traffic(planned_service.url)
    ended = pytest.raises(EngineError, match="all rows were sent before version 2 took over")
    with ended, stream.in_background(ROWS.head(10)) as sender:
        stream.wait_for_version("2", sender)


def test_wait_for_new_version_times_out(planned_service, monkeypatch):
    monkeypatch.setattr(traffic, "TAKEOVER_TIMEOUT_SECONDS", 0.3)
    stream = Traffic(planned_service.url)
    ended = pytest.raises(EngineError, match="did not take over version 2")
    with ended, stream.in_background(ROWS) as sender:
        stream.wait_for_version("2", sender)


def test_error_in_loop_ends_traffic(planned_service):
    stream = Traffic(planned_service.url)
    with pytest.raises(AssertionError, match="did not hold"), stream.in_background(ROWS) as sender:
        wait_until(lambda: len(stream.answered) > len(ROWS), 0.3)
    assert sender.done()
    assert 0 < stream.sent < len(ROWS)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"retrained": "yes: DRIFT", "retraining_decision": "it is worse"}, "it is worse"),
        ({"retrained": "no: no new labelled predictions"}, "no new labelled predictions"),
    ],
)
def test_missing_champion_reports_monitor_decision(monkeypatch, tags, why):
    monkeypatch.setattr(loop, "get_champion", lambda _: Mock(version=1))
    with pytest.raises(EngineError, match=f"version 1 .* is still champion: .*{why}; see run abc"):
        new_champion(tags | {"model_version": "1", "run_id": "abc"})
    monkeypatch.setattr(loop, "get_champion", lambda _: Mock(version=2))
    assert new_champion(tags | {"model_version": "1", "run_id": "abc"}) == "2"


def test_unlogged_answers_count_as_lost(sqlite_uri, spool):
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(4), MODEL, "test")
    stored = stored_ids(sqlite_uri)
    assert count_lost(stored, sqlite_uri) == 0
    assert count_lost([*stored, "not-there"], sqlite_uri) == 1
    assert count_lost([*stored, stored[0]], sqlite_uri) == 1
