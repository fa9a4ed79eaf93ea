from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.settings import Environment, Listen, SettingsError

SECRET = "hunter2-is-secret"


def _parse(text: str) -> int:
    if text != "7":
        raise ValueError("must be 7\nmust not be secret")
    return 7


LookUp = Callable[[Environment], object]
LOOK_UPS: dict[str, LookUp] = {
    "choice": lambda environment: environment.choice("SETTING", ("debug", "info"), "info"),
    "integer": lambda environment: environment.integer("SETTING", 1, low=1, high=9),
    "seconds": lambda environment: environment.seconds("SETTING", 1.0, low=0.5, high=9.0),
    "url": lambda environment: environment.url("SETTING", "http", "https"),
    "urls": lambda environment: environment.urls("SETTING", "http", "https"),
    "flag": lambda environment: environment.flag("SETTING"),
    "parsed": lambda environment: environment.parsed("SETTING", _parse, 0),
}


def test_listen_has_a_default_for_everything() -> None:
    assert Listen("127.0.0.1", 4000, "info") == Environment({}).listen(port=4000)


def test_listen_takes_what_is_set() -> None:
    environment = Environment({"HOST": "0.0.0.0", "PORT": "0", "LOG_LEVEL": "debug"})  # noqa: S104  # not bound here
    assert Listen("0.0.0.0", 0, "debug") == environment.listen(port=4000)  # noqa: S104


def test_an_empty_value_counts_as_not_set() -> None:
    environment = Environment({"PORT": " ", "DATABASE_URL": ""})
    assert environment.listen(port=4000).port == 4000
    environment.url("DATABASE_URL", "postgresql")
    assert environment.problems == ["DATABASE_URL is not set"]


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    environment = Environment({"PORT": "no-port", "LOG_LEVEL": "loud", "REDIS_URL": "http://localhost"})
    environment.listen(port=4000)
    environment.url("REDIS_URL", "redis", "rediss")
    environment.url("AMQP_URL", "amqp")
    environment.integer("WORKERS", low=1, high=8)
    expected = [
        "PORT must be an integer from 0 to 65535",
        "LOG_LEVEL must be one of debug, info, warning, error",
        "REDIS_URL must be a URL that starts with redis:// or rediss://",
        "AMQP_URL is not set",
        "WORKERS is not set",
    ]
    with pytest.raises(SettingsError) as refusal:
        environment.check()
    assert expected == refusal.value.problems
    assert str(refusal.value).splitlines() == expected


def test_nothing_wrong_is_no_error() -> None:
    environment = Environment({"PORT": "4000"})
    environment.listen(port=1)
    environment.check()


@pytest.mark.parametrize("look_up", LOOK_UPS.values(), ids=LOOK_UPS)
def test_a_wrong_value_is_named_and_not_shown(look_up: LookUp) -> None:
    environment = Environment({"SETTING": f"ftp://user:{SECRET}@host"})
    look_up(environment)
    with pytest.raises(SettingsError) as refusal:
        environment.check()
    assert "SETTING" in str(refusal.value)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("look_up", LOOK_UPS.values(), ids=LOOK_UPS)
@given(value=st.text())
def test_no_value_breaks_a_look_up(look_up: LookUp, value: str) -> None:
    look_up(Environment({"SETTING": value}))


@pytest.mark.parametrize(
    "value",
    [
        "localhost:5432",
        "//localhost",
        "http://",
        "http:///path",
        "http://host:0",
        "http://host:99999",
        "http://host:x",
        "http://[::1",
        "ftp://host",
    ],
)
def test_no_url_of_a_server(value: str) -> None:
    environment = Environment({"URL": value})
    environment.url("URL", "http", "https")
    assert environment.problems == ["URL must be a URL that starts with http:// or https://"]


@pytest.mark.parametrize("value", ["http://host", "https://user:p%40ss@host:1/path?x=1", "http://[::1]:8080"])
def test_a_url_is_taken_as_it_is(value: str) -> None:
    environment = Environment({"URL": value})
    assert value == environment.url("URL", "http", "https")
    assert environment.problems == []


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0.09", "60.1", "soon"])
def test_no_number_of_seconds(value: str) -> None:
    environment = Environment({"LIMIT": value})
    environment.seconds("LIMIT", 5.0, low=0.1, high=60.0)
    assert environment.problems == ["LIMIT must be a number of seconds from 0.1 to 60"]


@pytest.mark.parametrize("value", ["", "0.1", "60", "5e0"])
def test_a_number_of_seconds(value: str) -> None:
    environment = Environment({"LIMIT": value})
    assert float(value or 5.0) == environment.seconds("LIMIT", 5.0, low=0.1, high=60.0)
    assert environment.problems == []


@pytest.mark.parametrize("value", ["-1", "65536", "1.0", "1e3", "0x10"])
def test_no_integer_of_the_range(value: str) -> None:
    environment = Environment({"PORT": value})
    environment.integer("PORT", low=0, high=65535)
    assert environment.problems == ["PORT must be an integer from 0 to 65535"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://a", ("http://a",)),
        ("http://a:1,https://b:2/path", ("http://a:1", "https://b:2/path")),
        (" http://a:1 ,, http://b:2, ", ("http://a:1", "http://b:2")),
    ],
)
def test_several_urls(value: str, expected: tuple[str, ...]) -> None:
    environment = Environment({"URLS": value})
    assert expected == environment.urls("URLS", "http", "https")
    assert environment.problems == []


@pytest.mark.parametrize(
    "value", ["host", "http://a, host", "http://a:1;http://b:2", "http://a http://b:0", ",", " , "]
)
def test_one_wrong_url_is_a_problem_and_so_is_none(value: str) -> None:
    environment = Environment({"URLS": value})
    environment.urls("URLS", "http", "https")
    assert environment.problems == ["URLS must be URLs that start with http:// or https://"]


def test_urls_that_are_not_set() -> None:
    environment = Environment({})
    assert environment.urls("URLS", "http") == ()
    assert environment.problems == ["URLS is not set"]


@pytest.mark.parametrize(("value", "expected"), [("", False), ("false", False), (" true ", True), ("true", True)])
def test_a_flag(value: str, *, expected: bool) -> None:
    environment = Environment({"FLAG": value})
    assert expected == environment.flag("FLAG")
    assert environment.problems == []


@pytest.mark.parametrize("value", ["True", "1", "yes", "on", "truefalse"])
def test_no_flag(value: str) -> None:
    environment = Environment({"FLAG": value})
    assert not environment.flag("FLAG")
    assert environment.problems == ["FLAG must be one of true, false"]


@pytest.mark.parametrize(("value", "expected"), [("", 1), (" ", 1), ("7", 7), (" 7 ", 7)])
def test_what_a_parser_makes_of_it(value: str, expected: int) -> None:
    environment = Environment({"SETTING": value})
    assert expected == environment.parsed("SETTING", _parse, 1)
    assert environment.problems == []


def test_each_problem_of_a_parser_has_the_name_of_the_setting() -> None:
    environment = Environment({"SETTING": "8"})
    assert environment.parsed("SETTING", _parse, 1) == 1
    assert environment.problems == ["SETTING: must be 7", "SETTING: must not be secret"]
