"""Secrets in URLs and messages."""

import logging

import pytest

from serving.errors import LogUnavailableError, one_line
from serving.log.database.engine import connect, without_password
from serving.secrets import MaskingFormatter, masked

pytestmark = pytest.mark.quick

URLS = {
    "postgresql://me:hunter2@host/log": "postgresql://me:***@host/log",
    "postgresql://me@host/log?password=hunter2&x=1": "postgresql://me@host/log?password=***&x=1",
    "postgresql:///log?host=/run&user=me&sslpassword=hunter2": (
        "postgresql:///log?host=/run&user=me&sslpassword=***"
    ),
    "http://me:hun/ter2@host:5000": "http://me:***@host:5000",
    "wasbs://c@host/x?sv=1&sig=hunter2%3D": "wasbs://c@host/x?sv=1&sig=***",
    "https://host/x?X-Amz-Signature=hunter2&a=b": "https://host/x?X-Amz-Signature=***&a=b",
    "s3://bucket/x?aws_secret_access_key=hunter2": "s3://bucket/x?aws_secret_access_key=***",
    "sqlite:///predictions.db": "sqlite:///predictions.db",
    "http://host:5000/a?page=2": "http://host:5000/a?page=2",
}


@pytest.mark.parametrize("url", URLS)
def test_secrets_of_urls_are_masked(url):
    assert masked(f"cannot reach {url} refused") == f"cannot reach {URLS[url]} refused"
    assert one_line(OSError(f"'{url}' is wrong")) == f"'{URLS[url]}' is wrong"
    assert "hunter2" not in without_password(url)


def test_tracebacks_are_masked():
    try:
        raise OSError("http://me:hunter2@host failed")
    except OSError as error:
        record = logging.LogRecord("x", 40, "f", 1, "at %s", ("p://a:hunter2@b",), None)
        record.exc_info = (OSError, error, error.__traceback__)
    assert "hunter2" not in MaskingFormatter().format(record)


def test_unreadable_url_is_not_shown():
    with pytest.raises(LogUnavailableError) as caught:
        connect("postgresql://me:hunter2:5432x@host:hunter2/log")
    assert "hunter2" not in str(caught.value)
