"""The service's own settings, from the environment."""

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "MLPIPES_"


class SettingsError(Exception):
    """Settings that cannot be used; its text is one line for each."""


class Settings(BaseSettings):
    """Each field is an environment variable with the prefix MLPIPES_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

    model_uri: str = Field(
        default="models:/credit-card-fraud@champion",
        description="what to serve: any MLflow model URI that holds a portable scorer; "
        "an alias is followed",
    )
    poll_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="how often the registry is asked for a new champion"
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="keys by comma; when set, all but `/health/*` wants one, as header "
        "`X-API-Key` or as HTTP Basic password",
    )
    max_rows: int = Field(default=10_000, ge=1, description="rows in one request; more get a 413")
    max_bytes: int = Field(
        default=16 * 2**20, ge=1024, description="bytes in one body; more get a 413"
    )

    @field_validator("api_keys")
    @classmethod
    def _keys_can_be_sent(cls, value: SecretStr) -> SecretStr:
        keys = _split(value)
        if any(not key.isascii() or not key.isprintable() or " " in key for key in keys):
            raise ValueError("keys must be printable ASCII without blanks")
        if value.get_secret_value() and not keys:
            raise ValueError("there is no key between the commas")
        return value

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The API keys, none if the service is open."""
        return tuple(key.encode() for key in _split(self.api_keys))


def _split(keys: SecretStr) -> list[str]:
    return [key.strip() for key in keys.get_secret_value().split(",") if key.strip()]


def read_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: some cannot be used; none of their values is shown.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)
        lines = [
            f"{PREFIX}{'_'.join(map(str, one['loc'])).upper()}: "
            + one["msg"].removeprefix("Value error, ")
            for one in wrong
        ]
        raise SettingsError("\n".join(lines)) from None
