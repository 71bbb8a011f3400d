"""The callers of the demo, before a service that answers as it is told."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from unittest.mock import Mock

import pandas as pd
import pytest

from steps import demo
from steps.demo import BATCH, FEW, Traffic, count_lost, new_champion
from steps.pipeline.errors import EngineError
from tests.conftest import wait_for
from tests.log_fixtures import MODEL, ids, opened, rows

pytestmark = pytest.mark.quick

ROWS = pd.DataFrame({"V1": range(4 * BATCH), "Class": 0, "Time": 0.0})
DROPPED, REFUSED, MALFORMED = "no answer", "status 503", "no predictions"


class Service(HTTPServer):
    """Deals with each request as `plan` says, the last entry for all that follow.

    An entry that is none of the above is the version that answers.
    """

    def __init__(self, plan: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.plan = plan
        self.url = f"http://127.0.0.1:{self.server_port}"

    def next(self) -> str:
        return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]


class Answering(BaseHTTPRequestHandler):
    server: Service

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
def service(monkeypatch) -> Iterator[Service]:
    monkeypatch.setattr(demo, "PAUSE", 0.01)
    with Service(["1"]) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_each_row_that_was_sent_is_answered_or_refused(service):
    service.plan = ["1", DROPPED, REFUSED, "2"]
    traffic = Traffic(service.url)
    traffic.send(ROWS)
    assert (traffic.sent, len(traffic.answered), traffic.refused) == (200, 100, 100)
    assert traffic.versions == ["1", "2"]


def test_traffic_goes_on_until_the_new_version_answers(service):
    service.plan = ["1"] * 20 + ["2"]
    stream = Traffic(service.url)
    with stream.going_on(ROWS) as sender:
        stream.wait_for("2", sender)
    assert stream.versions == ["1", "2"]
    assert 20 * FEW < stream.sent == len(stream.answered) < len(ROWS)
    assert stream.answered == [f"of-demo-{number}" for number in range(stream.sent)]


def test_a_version_that_comes_again_is_seen(service):
    service.plan = ["1", "2", "1", "1"]
    traffic = Traffic(service.url)
    traffic.send(ROWS)
    assert traffic.versions == ["1", "2", "1"]


def test_traffic_goes_on_though_requests_are_refused(service):
    service.plan = [DROPPED, "1", REFUSED, "2"]
    stream = Traffic(service.url)
    with stream.going_on(ROWS) as sender:
        stream.wait_for("2", sender)
    assert stream.refused == 2 * FEW
    assert stream.sent == len(stream.answered) + stream.refused


def test_what_ends_the_traffic_is_raised_at_once(service):
    service.plan = [MALFORMED]
    stream = Traffic(service.url)
    began = time.monotonic()
    with pytest.raises(KeyError, match="predictions"), stream.going_on(ROWS) as sender:
        stream.wait_for("2", sender)
    with pytest.raises(KeyError, match="predictions"), stream.going_on(ROWS) as sender:
        wait_for(sender.done, 10)
    assert time.monotonic() - began < 10


def test_traffic_that_ends_before_the_new_version_came_says_so(service):
    stream = Traffic(service.url)
    ended = pytest.raises(EngineError, match="all rows were sent before version 2 took over")
    with ended, stream.going_on(ROWS.head(10)) as sender:
        stream.wait_for("2", sender)


def test_a_version_that_does_not_come_is_waited_for_no_longer_than_that(service, monkeypatch):
    monkeypatch.setattr(demo, "START_SECONDS", 0.3)
    stream = Traffic(service.url)
    ended = pytest.raises(EngineError, match="did not take over version 2")
    with ended, stream.going_on(ROWS) as sender:
        stream.wait_for("2", sender)


def test_what_ends_the_loop_ends_the_traffic(service):
    stream = Traffic(service.url)
    with pytest.raises(AssertionError, match="not come about"), stream.going_on(ROWS) as sender:
        wait_for(lambda: len(stream.answered) > len(ROWS), 0.3)
    assert sender.done()
    assert 0 < stream.sent < len(ROWS)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"retrained": "yes: DRIFT", "retraining_decision": "it is worse"}, "it is worse"),
        ({"retrained": "no: no labelled prediction is new"}, "no labelled prediction is new"),
    ],
)
def test_without_a_new_champion_it_says_what_monitor_decided(monkeypatch, tags, why):
    monkeypatch.setattr(demo, "find_champion", lambda _: Mock(version=1))
    with pytest.raises(EngineError, match=f"version 1 .* is still champion: .*{why}; .* run abc"):
        new_champion(tags | {"model_version": "1", "run_id": "abc"})
    monkeypatch.setattr(demo, "find_champion", lambda _: Mock(version=2))
    assert new_champion(tags | {"model_version": "1", "run_id": "abc"}) == "2"


def test_an_answer_without_a_row_of_its_own_is_lost(sqlite_uri, spool):
    with opened(sqlite_uri) as log:
        log.record(rows(4), MODEL, "test")
    stored = ids(sqlite_uri)
    assert count_lost(stored, sqlite_uri) == 0
    assert count_lost([*stored, "not-there"], sqlite_uri) == 1
    assert count_lost([*stored, stored[0]], sqlite_uri) == 1
