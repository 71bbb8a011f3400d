"""Settings of the prediction log and the service, from environment variables."""

import re
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.errors import SettingsError
from serving.loopback import host_name

PREFIX = "MLPIPES_"
# The URI of a version of a registered model, by alias or number.
REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/]+)|/(?P<version>\d+))/?")
SettingsType = TypeVar("SettingsType", bound=BaseSettings)


def _is_on(value: bool | str) -> bool:
    if isinstance(value, str) and value.lower() not in ("on", "off"):
        raise ValueError(f"must be on or off, not {value!r}")
    return value if isinstance(value, bool) else value.lower() == "on"


Switch = Annotated[bool, BeforeValidator(_is_on)]


class LogSettings(BaseSettings):
    """Settings of the prediction log: each field's alias is its environment variable."""

    model_config = SettingsConfigDict(case_sensitive=True, env_ignore_empty=True)

    uri: str = Field(
        default="sqlite:///predictions.db",
        alias="PREDICTION_LOG_URI",
        description="SQLite or PostgreSQL URL of the prediction log",
    )
    enabled: Switch = Field(
        default=True, alias="PREDICTION_LOG", description="`off` disables logging"
    )
    spool_folder: Path = Field(
        default=Path("prediction-spool"),
        alias="MLPIPES_SPOOL",
        description="folder that stores predictions while the log is unavailable",
    )
    features: Switch = Field(
        default=True,
        alias="MLPIPES_LOG_FEATURES",
        description="`off` excludes the features from the log",
    )


class ServiceSettings(BaseSettings):
    """Settings of the service: each field is an environment variable with the prefix MLPIPES_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

    model_uri: str = Field(
        default="models:/credit-card-fraud@champion",
        description="MLflow URI of the model to serve, which must contain a portable scorer; "
        "an alias is followed",
    )
    poll_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="seconds between checks for a new champion"
    )
    shadow: str = Field(
        default="",
        description="registered version that also scores each request, after the answer, such as "
        "`models:/credit-card-fraud@challenger`; an alias is followed; empty for none",
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="comma-separated API keys; if set, all routes except `/health/*` require one, "
        "as header `X-API-Key` or as HTTP Basic password",
    )
    hosts: str = Field(
        default="",
        description="comma-separated host names under which a service without keys is answered, "
        "besides localhost; without keys, connections to other than loopback addresses are only "
        "accepted if this is set",
    )
    max_rows: int = Field(
        default=10_000,
        ge=1,
        description="largest number of rows in a request; more are rejected with 413",
    )
    max_bytes: int = Field(
        default=16 * 2**20,
        ge=1024,
        description="largest size of a request body in bytes; more is rejected with 413",
    )

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr) -> SecretStr:
        keys = _split(value.get_secret_value())
        if any(not key.isascii() or not key.isprintable() or " " in key for key in keys):
            raise ValueError("keys must be printable ASCII without blanks")
        if value.get_secret_value() and not keys:
            raise ValueError("there is no key between the commas")
        return value

    @field_validator("shadow")
    @classmethod
    def _check_shadow(cls, value: str) -> str:
        if value and not REGISTERED.fullmatch(value):
            raise ValueError("must be models:/NAME@ALIAS or models:/NAME/VERSION")
        return value

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        wrong = [name for name in _split(value) if "*" in name or host_name(name) is None]
        if wrong or (value and not _split(value)):
            raise ValueError(f"must be host names separated by commas, not {value!r}")
        return value

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The API keys, none if the service is open."""
        return tuple(key.encode() for key in _split(self.api_keys.get_secret_value()))

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names in `hosts`, in lower case and without ports."""
        return tuple(name for name in map(host_name, _split(self.hosts)) if name)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def variables(settings: type[BaseSettings]) -> dict[str, FieldInfo]:
    """Return the fields of `settings` by their environment variables."""
    prefix = settings.model_config.get("env_prefix", "")
    return {
        field.alias or f"{prefix}{name}".upper(): field
        for name, field in settings.model_fields.items()
    }


def read_log_settings() -> LogSettings:
    """Read the settings of the prediction log from the environment.

    Raises:
        SettingsError: a variable has an invalid value.
    """
    return read_settings(LogSettings)


def resolve_log_uri(uri: str) -> str:
    """Return `uri`, or PREDICTION_LOG_URI if it is empty.

    Raises:
        SettingsError: a variable has an invalid value.
    """
    return uri or read_log_settings().uri


def read_service_settings() -> ServiceSettings:
    """Read the settings of the service from the environment.

    Raises:
        SettingsError: a variable has an invalid value, which is not shown.
    """
    return read_settings(ServiceSettings)


def read_settings(settings: type[SettingsType]) -> SettingsType:
    """Read settings from the environment.

    Raises:
        SettingsError: a variable has an invalid value, which is not shown.
    """
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        lines = [
            f"{prefix}{'_'.join(map(str, problem['loc']))}".upper()
            + f": {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("\n".join(lines)) from None
