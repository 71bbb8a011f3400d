"""Secrets in URLs and messages, hidden before they are shown."""

import logging
import re

HIDDEN = "***"
# Parameters of a PostgreSQL URL that are secrets.
SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret")

_USER_INFO = re.compile(r"(://[^\s:/?#@'\"]*):[^\s@'\"]*@")
_PARAMETER = re.compile(
    r"(?i)((?:\b|_)(?:[\w.-]*(?:password|passwd|pwd|secret|token|signature|credential|api_?key|"
    r"access_?key)[\w.-]*|sig)=)[^\s&#'\",;]+"
)


def masked(text: str) -> str:
    """Return `text` without the passwords, keys and tokens of the URLs in it."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER_INFO.sub(rf"\1:{HIDDEN}@", text))


class MaskingFormatter(logging.Formatter):
    """Formatter that hides the secrets of a record, those of its traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return masked(super().format(record))
