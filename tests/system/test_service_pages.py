"""Root page and /docs in a real browser."""

import re
import shutil

import pytest
import requests
from playwright.sync_api import sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium is installed: the pages were NOT tested in a browser"
)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, shared_service):
    """A page that may reach the service only, and whose console must stay silent, but for the
    status of a form that is refused.
    """
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    said, elsewhere = [], []
    page.on("console", lambda message: "422" in message.text or said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    def note(request):
        if not request.url.startswith((shared_service.url, "data:")):
            elsewhere.append(request.url)

    page.on("request", note)
    yield page
    page.close()
    assert (said, elsewhere) == ([], [])


def test_form_shows_logged_prediction(shared_service, page):
    page.goto(shared_service.url)
    assert "credit-card-fraud version 1" in " ".join(page.inner_text("h1").split())
    page.click("text=the first")
    page.fill("#id", "<b>mine</b>")
    page.click("button")
    answer = page.inner_text("#answer")
    assert "Label 1" in answer
    assert "<b>mine</b>" in answer
    (prediction_id,) = re.findall(r"[0-9a-f-]{36}", answer)
    newest = requests.get(f"{shared_service.url}/predictions?limit=1", timeout=30).json()[
        "predictions"
    ][0]
    assert (newest["prediction_id"], newest["entity_id"]) == (prediction_id, "<b>mine</b>")
    assert prediction_id in page.inner_text("#recent")
    assert "V14" in page.inner_text("#explanation")


def test_form_names_wrong_value_and_keeps_others(shared_service, page):
    page.goto(f"{shared_service.url}/?example=1")
    page.fill("[name=V3]", "much")
    page.click("button")
    assert "V3, row 0: must be a number" in page.inner_text("#error")
    assert page.input_value("[name=V3]") == "much"
    document = requests.get(f"{shared_service.url}/openapi.json", timeout=30).json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    example = body["examples"]["two rows"]["value"]
    assert float(page.input_value("[name=V1]")) == example["V1"][1]


def test_swagger_executes_example(shared_service, page):
    page.goto(f"{shared_service.url}/docs")
    route = page.locator("#operations-predict-predict_predict_post")
    route.click()
    route.get_by_text("Try it out").click()
    assert '"V1"' in route.locator("textarea").input_value()
    route.get_by_text("Execute").click()
    answer = route.locator(".live-responses-table .highlight-code").inner_text()
    assert '"prediction_id"' in answer
    assert '"label": 1' in answer
