"""The kinds of variables, and the variables of each program."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from aiohttp import ClientTimeout
from hypothesis import given
from hypothesis import strategies as st

import gateway.settings
import ops.databases
import orders.settings
import products.settings
from gateway.access.rate import Policy
from shared.settings import (
    Settings,
    SettingsError,
    choice,
    each_host,
    flag,
    integer,
    redis_url,
    seconds,
    secrets,
    url,
    urls,
)

SECRET = "hunter2-is-secret"
PROGRAMS: dict[str, Any] = {
    "gateway": gateway.settings.Settings,
    "orders": orders.settings.Settings,
    "products": products.settings.Settings,
    "ops": ops.databases.DatabaseUrls,
}
_SERVERS = {
    "DATABASE_URL": f"postgresql://user:{SECRET}@localhost/db",
    "REDIS_URL": f"redis://:{SECRET}@localhost/0",
    "AMQP_URL": f"amqp://guest:{SECRET}@localhost/shop",
}
REQUIRED = {
    "gateway": {"PRODUCTS_URL": "http://products:3001", "ORDERS_URL": "http://orders:3002"},
    "orders": _SERVERS | {"PRODUCTS_URL": "http://localhost:3001"},
    "products": _SERVERS,
    "ops": {f"{name}_DATABASE_URL": f"postgresql://:{SECRET}@localhost/db" for name in ("PRODUCTS", "ORDERS")},
}
KEY = f"shop {'a' * 64} orders:read"
_COMMON: dict[str, Any] = {
    "host": "127.0.0.1",
    "log_level": "info",
    "service_secret": (),
    "admin_port": None,
    "processes": 1,
    "drain_seconds": 0.0,
    "otel_exporter_otlp_endpoint": None,
}
_SERVICE = {name.lower(): value for name, value in _SERVERS.items()} | _COMMON
_SERVICE |= {"max_in_flight": 1_000, "statement_cache_size": 100}
DEFAULTS = {
    "gateway": gateway.settings.Settings(
        **_COMMON,
        port=4000,
        products_url=("http://products:3001",),
        orders_url=("http://orders:3002",),
        request_seconds=5.0,
        upstream_total_seconds=4.5,
        upstream_connect_seconds=1.0,
        api_keys=(),
        gateway_allow_anonymous=False,
        rate_limit=Policy(300_000, 60, 300_000),
        trusted_proxies=(),
        cors_origins=(),
    ),
    "orders": orders.settings.Settings(
        **_SERVICE,
        port=3002,
        products_url="http://localhost:3001",
        stuck_order_seconds=60.0,
        lines_and_holds=False,
    ),
    "products": products.settings.Settings(**_SERVICE, port=3001),
}


def _seven(text: str) -> int:
    if text != "7":
        raise ValueError("must be 7\nmust not be secret")
    return 7


KINDS: dict[str, Callable[[str], object]] = {
    "integer": integer(1, 9),
    "seconds": seconds(0.5, 9.0),
    "url": url("http", "https"),
    "hosts": url("http", "https", several_hosts=True),
    "urls": urls("http", "https"),
    "redis": redis_url,
    "flag": flag,
    "choice": choice("a", "b"),
    "secrets": secrets,
    "own": _seven,
}
TAKEN: dict[str, dict[str, object]] = {
    "integer": {"1": 1, " 9 ": 9},
    "seconds": {"0.5": 0.5, "9": 9.0, "5e0": 5.0},
    "url": {each: each for each in ("http://host", "https://user:p%40ss@host:1/path?x=1", "http://[::1]:8080")},
    "hosts": {each: each for each in ("http://host", "http://user:a,b@a:1,b,[::1]:2/path?x=1,2")},
    "urls": {
        "http://a": ("http://a",),
        " http://a:1 ,, https://b:2/path, ": ("http://a:1", "https://b:2/path"),
    },
    "redis": {
        each: each
        for each in (
            *("redis://host", "rediss://:p@host:1/0", "redis+sentinel://host/main", "redis+sentinel://a/main/"),
            "redis+sentinel://user:p,@a:1,b,[::1]:2/my-shop.1/2?sentinel_password=s",
        )
    },
    "flag": {"false": False, " true ": True},
    "choice": {"a": "a", " b ": "b"},
    "secrets": {
        "0123456789abcdef": ("0123456789abcdef",),
        f" {'+/=-._~' * 3} , {'B' * 200} ": ("+/=-._~" * 3, "B" * 200),
    },
    "own": {" 7 ": 7},
}
_IS_NO_INTEGER = ["SETTING must be an integer from 1 to 9"]
_IS_NO_TIME = ["SETTING must be a number from 0.5 to 9"]
_IS_NO_URL = ["SETTING must be a URL that starts with http:// or https://"]
_ARE_NO_URLS = ["SETTING must be URLs that start with http:// or https://"]
_IS_NO_REDIS = ["SETTING must be a URL that starts with redis:// or rediss:// or redis+sentinel://"]
_HAS_NO_PRIMARY = [
    "SETTING must name a primary after the Sentinels, as in redis+sentinel://host1,host2/primary/0",
]
_IS_NO_CHOICE = ["SETTING must be one of a, b"]
_ARE_NO_SECRETS = ["SETTING must be secrets of 16 to 200 letters, digits or . _ ~ + / = -, with commas between them"]
_IS_NO_FLAG = ["SETTING must be one of true, false"]
_OTHER_NUMBERS = ("+1", "0_1", "\u0665")  # Python reads them
REFUSED: dict[str, dict[str, list[str]]] = {
    "integer": dict.fromkeys(("-1", "0", "10", "1.0", "1e0", "0x1", "1" * 5_000, *_OTHER_NUMBERS), _IS_NO_INTEGER),
    "seconds": dict.fromkeys(("nan", "inf", "-1", "0.49", "9.1", "1e999", "soon", *_OTHER_NUMBERS), _IS_NO_TIME),
    "url": {
        "": ["SETTING is not set"],
        **dict.fromkeys(("localhost:5432", "//localhost", "http://", "http:///path", "ftp://host"), _IS_NO_URL),
        **dict.fromkeys(("http://host:0", "http://host:99999", "http://host:x", "http://[::1"), _IS_NO_URL),
        "http://a:1,b:2": _IS_NO_URL,
        "http://a b": _IS_NO_URL,
    },
    "hosts": dict.fromkeys(("http://a,", "http://a,:1", "http://a:0,b", "http://a,b:x", "http://a, b"), _IS_NO_URL),
    "urls": {
        " ": ["SETTING is not set"],
        **dict.fromkeys(("host", "http://a, host", "http://a:1;http://b:2", "http://a http://b:0", ","), _ARE_NO_URLS),
    },
    "redis": {
        **dict.fromkeys(
            ("http://a", "redis://a:1,b:2/0", "redis+sentinel://a,/main", "sentinel://a/main"), _IS_NO_REDIS
        ),
        **dict.fromkeys((f"redis+sentinel://a,b{path}" for path in ("", "/", "/main/x", "/a/0/0")), _HAS_NO_PRIMARY),
    },
    "flag": dict.fromkeys(("True", "1", "yes", "truefalse"), _IS_NO_FLAG),
    "choice": dict.fromkeys(("c", "A", "a, b"), _IS_NO_CHOICE),
    "secrets": dict.fromkeys(
        (*("a" * 15, "a" * 201, f"{'a' * 16},"), f"{'a' * 16} b", "ä" * 16),
        _ARE_NO_SECRETS,
    ),
    "own": {"8": ["SETTING must be 7", "SETTING must not be secret"]},
}


def read(kind: str, value: str) -> object:
    @dataclass(frozen=True, kw_only=True, repr=False)
    class Program(Settings):
        setting: Annotated[Any, KINDS[kind]]

    return Program.load({"SETTING": value}).setting


def problems(program: str, environment: dict[str, str]) -> list[str]:
    try:
        PROGRAMS[program].load(environment)
    except SettingsError as error:
        return error.problems
    return []


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_is_taken_or_refused_by_its_kind(kind: str) -> None:
    assert {value: read(kind, value) for value in TAKEN[kind]} == TAKEN[kind]
    found = {}
    for value in REFUSED[kind]:
        with pytest.raises(SettingsError) as refusal:
            read(kind, value)
        found[value] = refusal.value.problems
    assert REFUSED[kind] == found


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_value_is_named_and_not_shown(kind: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(kind, f"ftp://user:{SECRET}@host")
    assert "SETTING" in str(refusal.value)
    assert SECRET not in str(refusal.value)
    assert str(refusal.value).splitlines() == refusal.value.problems
    assert (refusal.value.__cause__, refusal.value.__context__) == (None, None)


@pytest.mark.parametrize("kind", KINDS)
@given(value=st.text())
def test_no_value_breaks_a_variable(kind: str, value: str) -> None:
    with suppress(SettingsError):
        read(kind, value)


def test_each_host_gets_the_rest_of_the_url() -> None:
    assert each_host("postgresql://user:a,b@one,[::1]:2/db?x=1,2") == [
        "postgresql://user:a,b@one/db?x=1,2",
        "postgresql://user:a,b@[::1]:2/db?x=1,2",
    ]
    assert each_host("postgresql://one/db") == ["postgresql://one/db"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_needs_its_servers_and_shows_no_password(program: str) -> None:
    settings = PROGRAMS[program].load(REQUIRED[program] | {"PATH": "/bin", "redis_url": "no"})
    assert SECRET not in repr(settings)
    assert problems(program, {}) == [f"{name} is not set" for name in REQUIRED[program]]


@pytest.mark.parametrize("program", DEFAULTS)
def test_a_program_has_defaults_for_the_rest(program: str) -> None:
    assert PROGRAMS[program].load(REQUIRED[program] | {"PORT": " "}) == DEFAULTS[program]


def test_what_is_set_replaces_a_default() -> None:
    listen = {"HOST": "::1", "PORT": "65535", "LOG_LEVEL": "debug"}
    more = listen | {"STUCK_ORDER_SECONDS": "1", "MAX_IN_FLIGHT": "100000", "LINES_AND_HOLDS": "true"}
    placed = orders.settings.Settings.load(REQUIRED["orders"] | more)
    assert (placed.host, placed.port, placed.log_level) == ("::1", 65535, "debug")
    assert (placed.stuck_order_seconds, placed.max_in_flight, placed.lines_and_holds) == (1.0, 100_000, True)
    limits = {"TOTAL": "0.5", "CONNECT": "0.1"}
    more = {f"UPSTREAM_{name}_SECONDS": value for name, value in limits.items()} | {"API_KEYS": KEY}
    settings = gateway.settings.Settings.load(REQUIRED["gateway"] | more)
    assert settings.limits == ClientTimeout(total=0.5, connect=0.1)
    assert "aaaa" not in repr(settings)


WRONG = {
    "gateway": {
        "PORT": ("http", "must be an integer from 0 to 65535"),
        "PRODUCTS_URL": ("products:3001", "must be URLs that start with http:// or https://"),
        "ORDERS_URL": ("", "is not set"),
        "REQUEST_SECONDS": ("60.1", "must be a number from 0.1 to 60"),
        **dict.fromkeys(
            ("UPSTREAM_TOTAL_SECONDS", "UPSTREAM_CONNECT_SECONDS"),
            ("nan", "must be a number from 0.1 to 60"),
        ),
        "API_KEYS": ("shop secret orders:read", "entry 1: the SHA-256 must be 64 hexadecimal digits"),
        "RATE_LIMIT": ("many", "must be REQUESTS/SECONDS or REQUESTS/SECONDS/BURST, as 100/60 or 100/60/20"),
        "TRUSTED_PROXIES": (
            "proxy",
            "entry 1 must be an IP address, or a network without bits set after its prefix",
        ),
        "CORS_ORIGINS": ("shop.example", "must be origins such as https://shop.example, or *"),
        "GATEWAY_ALLOW_ANONYMOUS": ("yes", "must be one of true, false"),
    },
    "orders": {
        "PORT": ("65536", "must be an integer from 0 to 65535"),
        "LOG_LEVEL": ("loud", "must be one of debug, info, warning, error"),
        "SERVICE_SECRET": (
            "short",
            "must be secrets of 16 to 200 letters, digits or . _ ~ + / = -, with commas between them",
        ),
        "DATABASE_URL": ("mysql://localhost", "must be a URL that starts with postgresql:// or postgres://"),
        "REDIS_URL": ("http://localhost", "must be a URL that starts with redis:// or rediss:// or redis+sentinel://"),
        "AMQP_URL": ("http://localhost", "must be a URL that starts with amqp:// or amqps://"),
        "MAX_IN_FLIGHT": ("100001", "must be an integer from 1 to 100000"),
        "PRODUCTS_URL": ("ftp://localhost", "must be a URL that starts with http:// or https://"),
        "STUCK_ORDER_SECONDS": ("0.9", "must be a number from 1 to 86400"),
        "LINES_AND_HOLDS": ("yes", "must be one of true, false"),
    },
    "products": {
        "DATABASE_URL": ("", "is not set"),
        "STATEMENT_CACHE_SIZE": ("-1", "must be an integer from 0 to 10000"),
        "MAX_IN_FLIGHT": ("0", "must be an integer from 1 to 100000"),
    },
}


@pytest.mark.parametrize("program", WRONG)
def test_everything_that_is_wrong_is_reported_at_once(program: str) -> None:
    wrong = WRONG[program]
    expected = [f"{name} {problem}" for name, (_, problem) in wrong.items()]
    given = {name: value for name, (value, _) in wrong.items()}
    assert problems(program, REQUIRED[program] | given) == expected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway"])  # noqa: S104  # what is to be refused
@pytest.mark.parametrize(
    ("more", "starts"),
    [
        ({}, False),
        ({"API_KEYS": " "}, False),
        ({"GATEWAY_ALLOW_ANONYMOUS": "false"}, False),
        ({"GATEWAY_ALLOW_ANONYMOUS": "true"}, True),
        ({"API_KEYS": KEY}, True),
    ],
)
def test_without_keys_the_gateway_listens_on_loopback_only(host: str, more: dict[str, str], starts: bool) -> None:
    for loopback in ("127.0.0.1", "::1", "localhost"):
        assert problems("gateway", REQUIRED["gateway"] | more | {"HOST": loopback}) == []
    found = problems("gateway", REQUIRED["gateway"] | more | {"HOST": host, "PORT": "http"})
    assert [problem.partition(" ")[0] for problem in found] == ["PORT", *([] if starts else ["API_KEYS"])]


@pytest.mark.parametrize("more", [{}, {"HOST": "10.0.0.1"}, {"GATEWAY_ALLOW_ANONYMOUS": "true"}])
def test_separators_without_a_key_are_refused_wherever_the_gateway_listens(more: dict[str, str]) -> None:
    expected = ["API_KEYS names no key; leave it empty if that is meant"]
    for keys in (";", ";\n;"):
        assert expected == problems("gateway", REQUIRED["gateway"] | more | {"API_KEYS": keys})
