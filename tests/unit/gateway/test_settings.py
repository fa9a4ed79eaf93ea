import pytest

from gateway.settings import Settings
from shared.settings import Listen, SettingsError
from shared.web.client import ClientTimeouts

ENVIRONMENT = {"PRODUCTS_URL": "http://products:3001", "ORDERS_URL": "http://orders:3002"}


def test_everything_but_the_services_has_a_default() -> None:
    expected = Settings(
        listen=Listen("127.0.0.1", 4000, "info"),
        products_urls=("http://products:3001",),
        orders_urls=("http://orders:3002",),
        request_seconds=5.0,
        limits=ClientTimeouts(total=4.5, connect=1.0, read=4.5),
        api_keys=[],
        rate_limit=None,
        trusted_proxies=(),
        cors_origins=(),
    )
    assert expected == Settings.load(ENVIRONMENT)


def test_a_service_may_have_several_addresses() -> None:
    several = {"PRODUCTS_URL": "http://c:1,http://d:2", "ORDERS_URL": "http://a:1, http://b:2"}
    settings = Settings.load(several)
    assert (settings.products_urls, settings.orders_urls) == (
        ("http://c:1", "http://d:2"),
        ("http://a:1", "http://b:2"),
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ["API_KEYS"]),
        ({"API_KEYS": " "}, ["API_KEYS"]),
        ({"GATEWAY_ALLOW_ANONYMOUS": "false"}, ["API_KEYS"]),
        ({"GATEWAY_ALLOW_ANONYMOUS": "true"}, []),
        ({"API_KEYS": f"shop {'a' * 64} orders:read"}, []),
    ],
)
def test_without_keys_it_starts_on_a_loopback_address_only(more: dict[str, str], expected: list[str]) -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        Settings.load(ENVIRONMENT | more | {"HOST": host})
    for host in ("0.0.0.0", "::", "10.0.0.1", "gateway"):  # noqa: S104  # what is to be refused
        problems = []
        try:
            Settings.load(ENVIRONMENT | more | {"HOST": host})
        except SettingsError as error:
            problems = error.problems
        assert expected == [problem.partition(" ")[0] for problem in problems]


@pytest.mark.parametrize("keys", [";", " ; ", ";\n;"])
@pytest.mark.parametrize("more", [{}, {"HOST": "10.0.0.1"}, {"GATEWAY_ALLOW_ANONYMOUS": "true"}])
def test_separators_without_a_key_are_refused_wherever_it_listens(keys: str, more: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load(ENVIRONMENT | more | {"API_KEYS": keys})
    expected = ["API_KEYS names no key; leave it empty if that is meant"]
    assert expected == refusal.value.problems


def test_no_digest_is_in_the_repr() -> None:
    assert "aaaa" not in repr(Settings.load(ENVIRONMENT | {"API_KEYS": f"shop {'a' * 64} orders:read"}))


def test_each_limit_can_be_set() -> None:
    more = {"UPSTREAM_TOTAL_SECONDS": "0.5", "UPSTREAM_CONNECT_SECONDS": "0.1", "UPSTREAM_READ_SECONDS": "0.2"}
    settings = Settings.load(
        ENVIRONMENT | more | {"REQUEST_SECONDS": "60", "CORS_ORIGINS": " https://a.example:1, *,"}
    )
    assert (settings.limits, settings.request_seconds) == (ClientTimeouts(total=0.5, connect=0.1, read=0.2), 60.0)
    assert settings.cors_origins == ("https://a.example:1", "*")


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load(
            {
                "PORT": "http",
                "PRODUCTS_URL": "products:3001",
                "UPSTREAM_READ_SECONDS": "nan",
                "API_KEYS": "shop secret orders:read",
                "RATE_LIMIT": "many",
                "TRUSTED_PROXIES": "proxy",
                "CORS_ORIGINS": "shop.example",
                "GATEWAY_ALLOW_ANONYMOUS": "yes",
            }
        )
    expected = [
        "PORT must be an integer from 0 to 65535",
        "PRODUCTS_URL must be URLs that start with http:// or https://",
        "ORDERS_URL is not set",
        "UPSTREAM_READ_SECONDS must be a number of seconds from 0.1 to 60",
        "API_KEYS entry 1: the SHA-256 must be 64 hexadecimal digits",
        "RATE_LIMIT must be REQUESTS/SECONDS or REQUESTS/SECONDS/BURST, as 100/60 or 100/60/20",
        "TRUSTED_PROXIES entry 1 must be an IP address, or a network without bits set after its prefix",
        "CORS_ORIGINS must be origins such as https://shop.example, or *",
        "GATEWAY_ALLOW_ANONYMOUS must be one of true, false",
    ]
    assert expected == refusal.value.problems
