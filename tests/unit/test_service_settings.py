"""The settings of the two services, read from an environment."""

from typing import Any

import pytest

from orders.settings import Settings as OrdersSettings
from products.settings import Settings as ProductsSettings
from shared.settings import SettingsError

SERVERS = {
    "database_url": "postgresql://service:hunter2@localhost/service",
    "redis_url": "redis://:hunter2@localhost/0",
    "amqp_url": "amqp://guest:hunter2@localhost/shop",
}
ALL = {
    OrdersSettings: (
        {**SERVERS, "products_url": "http://localhost:3001"},
        {"port": 3002, "most_in_flight": 1_000, "stuck_order_seconds": 60.0},
    ),
    ProductsSettings: (SERVERS, {"port": 3001, "most_in_flight": 1_000}),
}
each_service = pytest.mark.parametrize(
    ("settings_type", "urls", "defaults"),
    [(service, *row) for service, row in ALL.items()],
    ids=["orders", "products"],
)


@each_service
def test_what_is_set_is_taken_and_the_rest_has_defaults(
    settings_type: Any, urls: dict[str, str], defaults: dict[str, object]
) -> None:
    settings = settings_type.load({name.upper(): url for name, url in urls.items()})

    assert (settings.listen.host, settings.listen.log_level) == ("127.0.0.1", "info")
    assert {name: getattr(settings, name) for name in urls} == urls
    found = {name: getattr(settings.listen if name == "port" else settings, name) for name in defaults}
    assert found == defaults
    assert "hunter2" not in repr(settings)


@each_service
def test_everything_that_is_missing_is_reported_at_once(
    settings_type: Any, urls: dict[str, str], defaults: dict[str, object]
) -> None:
    with pytest.raises(SettingsError) as refusal:
        settings_type.load({})

    assert refusal.value.problems == [f"{name.upper()} is not set" for name in urls]


@pytest.mark.parametrize(
    ("settings_type", "name", "allowed", "refused"),
    [
        (OrdersSettings, "STUCK_ORDER_SECONDS", ["1", "86400"], ["0.9", "86401"]),
        *((service, "MAX_IN_FLIGHT", ["1", "100000"], ["0", "100001"]) for service in ALL),
        *((service, "PORT", ["0", "65535"], ["-1", "65536"]) for service in ALL),
    ],
)
def test_a_setting_stays_within_its_bounds(
    settings_type: Any, name: str, allowed: list[str], refused: list[str]
) -> None:
    urls = {key.upper(): url for key, url in ALL[settings_type][0].items()}
    for value in allowed:
        settings_type.load({**urls, name: value})
    for value in refused:
        with pytest.raises(SettingsError, match=name):
            settings_type.load({**urls, name: value})
