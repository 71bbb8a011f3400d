"""Settings of alerts, from environment variables, since MLflow records parameters."""

import shlex
from typing import Literal

from pydantic import Field, HttpUrl, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.settings import PREFIX, read_settings


class AlertSettings(BaseSettings):
    """Receivers of alerts: each field is an environment variable with the prefix MLPIPES_ALERT_."""

    model_config = SettingsConfigDict(
        env_prefix=f"{PREFIX}ALERT_", env_ignore_empty=True, validate_default=False
    )

    url: SecretStr = Field(
        default=SecretStr(""),
        description="HTTP or HTTPS URL to which `monitor` posts its alerts",
    )
    format: Literal["json", "slack"] = Field(
        default="json",
        description="format of posted alerts: `json`, or `slack` for Slack's incoming webhooks",
    )
    secret: SecretStr = Field(
        default=SecretStr(""),
        description="key of the HMAC-SHA256 signature of posted alerts",
    )
    command: str = Field(
        default="",
        description="command that `monitor` runs for each alert, with the alert as JSON on "
        "standard input",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: SecretStr) -> SecretStr:
        try:
            TypeAdapter(HttpUrl).validate_python(value.get_secret_value())
        except ValidationError:
            raise ValueError("must be an HTTP or HTTPS URL") from None
        return value

    @field_validator("command")
    @classmethod
    def _check_command(cls, value: str) -> str:
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"must be a command: {error}") from None
        if not words:
            raise ValueError("must be a command")
        return value

    @property
    def words(self) -> list[str]:
        """The command and its arguments; none if no command is set."""
        return shlex.split(self.command)


def read_alert_settings() -> AlertSettings:
    """Read the settings of alerts from the environment.

    Raises:
        SettingsError: a variable has an invalid value, which is not shown.
    """
    return read_settings(AlertSettings)
