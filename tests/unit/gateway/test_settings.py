import pytest

from gateway.settings import Settings
from shared.settings import Listen, SettingsError
from shared.web.client import Limits

ENVIRONMENT = {"PRODUCTS_URL": "http://products:3001", "ORDERS_URL": "http://orders:3002"}


def test_everything_but_the_services_has_a_default() -> None:
    expected = Settings(Listen("127.0.0.1", 4000, "info"), "http://products:3001", "http://orders:3002", Limits())
    assert expected == Settings.load(ENVIRONMENT)


def test_each_limit_can_be_set() -> None:
    limits = {
        "UPSTREAM_TOTAL_SECONDS": "0.5",
        "UPSTREAM_CONNECT_SECONDS": "0.1",
        "UPSTREAM_READ_SECONDS": "0.2",
    }
    assert Limits(total=0.5, connect=0.1, read=0.2) == Settings.load(ENVIRONMENT | limits).limits


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load({"PORT": "http", "PRODUCTS_URL": "products:3001", "UPSTREAM_READ_SECONDS": "nan"})
    expected = [
        "PORT must be an integer from 0 to 65535",
        "PRODUCTS_URL must be a URL that starts with http:// or https://",
        "ORDERS_URL is not set",
        "UPSTREAM_READ_SECONDS must be a number of seconds from 0.1 to 60",
    ]
    assert expected == refusal.value.problems
