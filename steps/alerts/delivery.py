"""Delivery of alerts to a webhook and to a command."""

import hashlib
import hmac
import subprocess
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from serving.errors import one_line
from steps.alerts.alert import Alert
from steps.alerts.settings import AlertSettings

Receiver = Callable[[Alert], None]

TIMEOUT = 10.0
COMMAND_TIMEOUT = 60.0
ATTEMPTS = 4
# Seconds before the second retry; doubled with each further one.
BACKOFF = 1.0
# Statuses of temporary errors.
RETRIED = (408, 425, 429, 500, 502, 503, 504)
TIME_HEADER, SIGNATURE_HEADER = "X-MLPipes-Timestamp", "X-MLPipes-Signature"
SHOWN_CHARACTERS = 200


class DeliveryError(Exception):
    """An alert was not delivered; the message is one line without secrets."""


def receivers(settings: AlertSettings) -> dict[str, Receiver]:
    """Return the functions that send an alert to each receiver, by its name.

    They raise `DeliveryError` if the receiver does not accept the alert.
    """
    found: dict[str, Receiver] = {}
    if settings.url.get_secret_value():
        found["webhook"] = partial(_post, settings)
    if settings.command:
        found["command"] = partial(_run, settings.words)
    return found


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a body that was sent at `timestamp`, seconds since 1970."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _post(settings: AlertSettings, alert: Alert) -> None:
    body = alert.as_slack_message() if settings.format == "slack" else alert.as_json()
    headers = {"Content-Type": "application/json"}
    if secret := settings.secret.get_secret_value():
        timestamp = str(int(time.time()))
        headers |= {TIME_HEADER: timestamp, SIGNATURE_HEADER: signature(secret, timestamp, body)}
    url = settings.url.get_secret_value()
    host = urlsplit(url).hostname  # paths of webhooks are secrets
    retry = Retry(
        ATTEMPTS - 1,
        status_forcelist=RETRIED,
        allowed_methods=None,
        backoff_factor=BACKOFF,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            answer = session.post(
                url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as error:
            raise DeliveryError(f"{host} cannot be reached: {type(error).__name__}") from None
    if not 200 <= answer.status_code < 300:
        raise DeliveryError(f"{host} answered with status {answer.status_code}")


def _run(words: list[str], alert: Alert) -> None:
    name = words[0]
    try:
        ended = subprocess.run(
            words, input=alert.as_json(), capture_output=True, timeout=COMMAND_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise DeliveryError(f"{name} did not end within {COMMAND_TIMEOUT:g} seconds") from None
    except OSError as error:
        raise DeliveryError(f"{name} cannot be run: {one_line(error)}") from None
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip()[-SHOWN_CHARACTERS:]
        raise DeliveryError(
            f"{name} ended with status {ended.returncode}: {' '.join(said.split())}"
        )
