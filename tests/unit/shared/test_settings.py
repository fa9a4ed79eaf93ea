from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import fields

from shared.settings import (
    Listen,
    Parsed,
    ServiceSchema,
    SettingsError,
    SettingsSchema,
    flag,
    integer,
    load,
    seconds,
    url,
    urls,
)

SECRET = "hunter2-is-secret"


def _parse(text: str) -> int:
    if text != "7":
        raise ValueError("must be 7\nmust not be secret")
    return 7


FIELDS: dict[str, fields.Field[Any]] = {
    "integer": integer(1, 1, 9),
    "seconds": seconds(1.0, 0.5, 9.0),
    "url": url("http", "https"),
    "urls": urls("http", "https"),
    "flag": flag(),
    "parsed": Parsed(_parse, load_default=1),
}


def schema(**names: fields.Field[Any]) -> SettingsSchema:
    return SettingsSchema.from_dict(dict(names))()  # type: ignore[return-value]  # it makes a subclass


def read(field: str, value: str) -> object:
    return load(schema(setting=FIELDS[field]), {"SETTING": value})["setting"]


def refused(field: str, value: str) -> list[str]:
    with pytest.raises(SettingsError) as refusal:
        read(field, value)
    return refusal.value.problems


class Service(ServiceSchema):
    port = integer(4000, 0, 65535)
    redis_url = url("redis", "rediss")
    amqp_url = url("amqp")
    in_flight = integer(5, 1, 8, data_key="MAX_IN_FLIGHT")


URLS = {"REDIS_URL": "redis://localhost", "AMQP_URL": "amqp://localhost"}


def test_every_variable_of_a_service_has_a_default() -> None:
    values = load(Service(), URLS)
    assert (values["listen"], values["in_flight"]) == (Listen("127.0.0.1", 4000, "info"), 5)


def test_what_is_set_is_taken() -> None:
    more = {"HOST": "0.0.0.0", "PORT": "0", "LOG_LEVEL": "debug", "MAX_IN_FLIGHT": " 8 "}  # noqa: S104  # not bound
    values = load(Service(), URLS | more)
    assert (values["listen"], values["in_flight"]) == (Listen("0.0.0.0", 0, "debug"), 8)  # noqa: S104


def test_other_variables_are_passed_over() -> None:
    assert set(load(Service(), URLS | {"PATH": "/bin", "redis_url": "no"})) == {
        "listen",
        "redis_url",
        "amqp_url",
        "in_flight",
    }


def test_an_empty_value_counts_as_not_set() -> None:
    assert load(Service(), URLS | {"PORT": " "})["listen"].port == 4000
    with pytest.raises(SettingsError) as refusal:
        load(Service(), URLS | {"REDIS_URL": ""})
    assert refusal.value.problems == ["REDIS_URL is not set"]


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    expected = [
        "PORT must be an integer from 0 to 65535",
        "LOG_LEVEL must be one of debug, info, warning, error",
        "REDIS_URL must be a URL that starts with redis:// or rediss://",
        "AMQP_URL is not set",
        "MAX_IN_FLIGHT must be an integer from 1 to 8",
    ]
    with pytest.raises(SettingsError) as refusal:
        load(
            Service(),
            {"PORT": "no-port", "LOG_LEVEL": "loud", "REDIS_URL": "http://localhost", "MAX_IN_FLIGHT": "9"},
        )
    assert expected == refusal.value.problems
    assert str(refusal.value).splitlines() == expected


@pytest.mark.parametrize("field", FIELDS)
def test_a_wrong_value_is_named_and_not_shown(field: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read(field, f"ftp://user:{SECRET}@host")
    assert "SETTING" in str(refusal.value)
    assert SECRET not in str(refusal.value)
    assert (refusal.value.__cause__, refusal.value.__suppress_context__) == (None, True)


@pytest.mark.parametrize("field", FIELDS)
@given(value=st.text())
def test_no_value_breaks_a_field(field: str, value: str) -> None:
    with suppress(SettingsError):
        read(field, value)


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
        "http://a b",
        "ftp://host",
    ],
)
def test_no_url_of_a_server(value: str) -> None:
    assert refused("url", value) == ["SETTING must be a URL that starts with http:// or https://"]


@pytest.mark.parametrize("value", ["http://host", "https://user:p%40ss@host:1/path?x=1", "http://[::1]:8080"])
def test_a_url_is_taken_as_it_is(value: str) -> None:
    assert read("url", value) == value


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0.49", "9.1", "1e999", "soon"])
def test_no_number_of_seconds(value: str) -> None:
    assert refused("seconds", value) == ["SETTING must be a number of seconds from 0.5 to 9"]


@pytest.mark.parametrize(("value", "expected"), [("", 1.0), ("0.5", 0.5), ("9", 9.0), ("5e0", 5.0)])
def test_a_number_of_seconds(value: str, expected: float) -> None:
    assert expected == read("seconds", value)


@pytest.mark.parametrize("value", ["-1", "0", "10", "1.0", "1e0", "0x1", "1" * 5_000])
def test_no_integer_of_the_range(value: str) -> None:
    assert refused("integer", value) == ["SETTING must be an integer from 1 to 9"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://a", ("http://a",)),
        ("http://a:1,https://b:2/path", ("http://a:1", "https://b:2/path")),
        (" http://a:1 ,, http://b:2, ", ("http://a:1", "http://b:2")),
    ],
)
def test_several_urls(value: str, expected: tuple[str, ...]) -> None:
    assert expected == read("urls", value)


@pytest.mark.parametrize(
    "value", ["host", "http://a, host", "http://a:1;http://b:2", "http://a http://b:0", ",", " , "]
)
def test_one_wrong_url_is_a_problem_and_so_is_a_list_without_any(value: str) -> None:
    assert refused("urls", value) == ["SETTING must be URLs that start with http:// or https://"]


def test_urls_that_are_not_set() -> None:
    assert refused("urls", "") == ["SETTING is not set"]


@pytest.mark.parametrize(("value", "expected"), [("", False), ("false", False), (" true ", True), ("true", True)])
def test_a_flag(value: str, *, expected: bool) -> None:
    assert expected == read("flag", value)


@pytest.mark.parametrize("value", ["True", "1", "yes", "on", "truefalse"])
def test_no_flag(value: str) -> None:
    assert refused("flag", value) == ["SETTING must be one of true, false"]


@pytest.mark.parametrize(("value", "expected"), [("", 1), (" ", 1), ("7", 7), (" 7 ", 7)])
def test_what_a_parser_makes_of_it(value: str, expected: int) -> None:
    assert expected == read("parsed", value)


def test_each_problem_of_a_parser_has_the_name_of_the_setting() -> None:
    assert refused("parsed", "8") == ["SETTING must be 7", "SETTING must not be secret"]
