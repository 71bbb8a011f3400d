"""Settings of the prediction log and the service."""

import pytest

from serving.errors import SettingsError
from serving.settings import read_log_settings, read_service_settings
from tests.support.generated_files import SETTINGS

pytestmark = pytest.mark.quick

INVALID_SETTINGS = {
    "MLPIPES_MAX_ROWS": "none",
    "MLPIPES_MAX_BYTES": "1",
    "MLPIPES_POLL_SECONDS": "0",
    "MLPIPES_API_KEYS": "secret key",
}


@pytest.mark.parametrize("name", INVALID_SETTINGS)
def test_invalid_setting_is_reported_without_value(monkeypatch, name):
    monkeypatch.setenv(name, INVALID_SETTINGS[name])
    with pytest.raises(SettingsError, match=name) as caught:
        read_service_settings()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "setting"), [("PREDICTION_LOG", "enabled"), ("MLPIPES_LOG_FEATURES", "features")]
)
def test_switch_accepts_on_and_off_only(monkeypatch, variable, setting):
    for value, on in {"": True, "on": True, "OFF": False}.items():
        monkeypatch.setenv(variable, value)
        assert getattr(read_log_settings(), setting) is on
    monkeypatch.setenv(variable, "false")
    with pytest.raises(SettingsError, match=f"{variable}: must be on or off, not 'false'"):
        read_log_settings()


def test_empty_settings_mean_defaults(monkeypatch):
    """Compose passes variables that are not set as empty."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    defaults = read_service_settings(), read_log_settings()
    for name in SETTINGS:
        monkeypatch.setenv(name, "")
    assert (read_service_settings(), read_log_settings()) == defaults
