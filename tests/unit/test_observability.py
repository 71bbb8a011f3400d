"""Alert rules and the dashboard, against the metrics that the service exposes."""

import json
import re

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import serving.web.metrics  # noqa: F401
from tests.support.project import PROJECT

pytestmark = pytest.mark.quick

FOLDER = PROJECT / "observability"
SAMPLE_SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}


def exposed() -> dict[str, str]:
    """Return the type of each sample that the service exposes, by its name."""
    families = text_string_to_metric_families(generate_latest().decode())
    return {
        family.name + suffix: family.type
        for family in families
        for suffix in SAMPLE_SUFFIXES.get(family.type, [])
    }


def rules() -> list[dict[str, object]]:
    content = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
    assert set(content) == {"groups"}
    for group in content["groups"]:
        assert set(group) == {"name", "rules"}
    return [rule for group in content["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, object]]:
    return json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"]


EXPRESSIONS = [rule["expr"] for rule in rules()]
EXPRESSIONS += [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_use_metrics_of_the_service(expression):
    samples = exposed()
    names = set(re.findall(r"\bmlpipes_\w+", expression))
    assert names
    assert names <= samples.keys()
    for name in names:
        is_rated = re.search(rf"(rate|increase)\({name}\b", expression) is not None
        assert is_rated == (samples[name] != "gauge"), name
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing)


def test_every_rule_is_complete():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_do_not_overlap():
    cells = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        mine = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not mine & cells
        cells |= mine
    identities = [panel["id"] for panel in panels()]
    assert len(set(identities)) == len(identities)
