import pytest

from products.settings import Settings
from shared.settings import SettingsError

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://products:hunter2@localhost/products",
    "REDIS_URL": "redis://:hunter2@localhost/0",
    "AMQP_URL": "amqp://guest:hunter2@localhost/shop",
}


def test_what_is_set_is_taken_and_the_rest_has_defaults() -> None:
    settings = Settings.load(ENVIRONMENT)
    assert (settings.listen.host, settings.listen.port, settings.listen.log_level) == ("127.0.0.1", 3001, "info")
    assert list(ENVIRONMENT.values()) == [settings.database_url, settings.redis_url, settings.amqp_url]


def test_everything_that_is_missing_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load({})
    assert [f"{name} is not set" for name in ENVIRONMENT] == refusal.value.problems


def test_no_secret_is_in_the_repr() -> None:
    assert "hunter2" not in repr(Settings.load(ENVIRONMENT))
