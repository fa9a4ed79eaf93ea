import re
from collections.abc import Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from shared.errors import AppError, Code
from shared.web.headers import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    LAST_EVENT_ID,
    read_idempotency_key,
    read_if_match,
    read_key,
    read_last_event_id,
)

REFUSED = "refused"
# RFC 9110 §5.6.3 allows this space around a value and in a list, and §5.6.1.2 empty elements in a list.
SPACE = st.text(" \t", max_size=3)
EMPTY = st.text(" \t,", max_size=4)
READERS: dict[str, Callable[[web.Request], object]] = {
    IDEMPOTENCY_KEY: read_idempotency_key,
    IF_MATCH: read_if_match,
    LAST_EVENT_ID: read_last_event_id,
}
KEYS = {
    **{value: value.strip() for value in ("key", " key\t", "!", "~", "x" * 255)},
    **dict.fromkeys(("", " ", "x" * 256, "two words", "a\tb", "a\x00", "a\x1f", "a\x7f", "ü"), REFUSED),
    **dict.fromkeys(("\N{NO-BREAK SPACE}key", "key\N{EM SPACE}"), REFUSED),
}
POSITIONS = {
    **dict(zip(("1", " 7\t", "0", "", "999999999"), (1, 7, 0, 0, 999_999_999), strict=True)),
    **dict.fromkeys(("-1", "+1", "1.0", "one", "1,2", "1 2", "1000000000", "0x1"), REFUSED),
    "\N{ARABIC-INDIC DIGIT ONE}": REFUSED,
}
# Tags that this API does not give, as other servers may: they match no version.
FOREIGN = (
    *('W/"1"', '""', '"a"', '"-1"', '"1.0"', '"01"', '"0"', '"12345678901"', '"*"', '"W/"', '"\\"', '"\'"'),
    *('"a,b"', '",1,"', '"\xe9"', '"\N{ARABIC-INDIC DIGIT ONE}"'),
)
NO_TAGS = (
    *("1", '"', '"1', '1"', "'1'", '" 1"', '"a\tb"', '"1" "2"', '"1""2"', '"1"2"', '"1";"2"', '"1", 2'),
    *('w/"1"', 'W"1"', 'W/ "1"', "W/1", '*, "1"', '"1", *', "**", "*,", '"\x7f"'),
)
TAGS: dict[str, object] = {
    " * ": None,
    '"9999999999"': frozenset({9_999_999_999}),
    **dict.fromkeys(("", " ", ",", " ,\t, ", *FOREIGN), frozenset()),
    **{f'"1", {tag}, "2"': frozenset({1, 2}) for tag in FOREIGN},
    **dict.fromkeys(NO_TAGS, REFUSED),
}


def request(name: str, *values: str, method: str = "POST", path: str = "/orders") -> web.Request:
    return make_mocked_request(method, path, CIMultiDict((name, value) for value in values))


def read(name: str, *values: str) -> object:
    """The value, or that the header was refused by its name."""
    try:
        return READERS[name](request(name, *values))
    except AppError as error:
        is_named = (error.code, [detail.field for detail in error.details]) == (Code.VALIDATION_ERROR, [name])
        return REFUSED if is_named else error


@pytest.mark.parametrize(("name", "expected"), [(IDEMPOTENCY_KEY, KEYS), (LAST_EVENT_ID, POSITIONS), (IF_MATCH, TAGS)])
def test_a_header_is_read_or_refused(name: str, expected: dict[str, object]) -> None:
    assert {value: read(name, value) for value in expected} == expected


def test_a_header_may_be_missing_and_only_a_list_may_have_several_lines() -> None:
    missing = {name: reader(request("Accept", "*/*")) for name, reader in READERS.items()}
    assert missing == {IDEMPOTENCY_KEY: None, IF_MATCH: None, LAST_EVENT_ID: 0}
    assert read(IDEMPOTENCY_KEY, "key", "key") == read(LAST_EVENT_ID, "1", "1") == REFUSED
    assert read(IF_MATCH, '"1"', '"2"') == frozenset({1, 2})
    assert read(IF_MATCH, "*", "*") == read(IF_MATCH, "*", '"1"') == REFUSED


@given(st.text(st.sampled_from('a!~"\\ \t\r\x1f\x7f\x85\xa0\N{EM SPACE}ü')) | st.text(st.characters(codec="latin-1")))
def test_only_visible_ascii_is_a_key(value: str) -> None:
    key = value.strip(" \t")
    is_key = 1 <= len(key) <= 255 and all("!" <= character <= "~" for character in key)
    assert read(IDEMPOTENCY_KEY, value) == (key if is_key else REFUSED)


def test_a_key_belongs_to_the_method_the_path_and_the_content() -> None:
    sent = [
        request(IDEMPOTENCY_KEY, "k"),
        request(IDEMPOTENCY_KEY, "k", path="/orders/1"),
        request(IDEMPOTENCY_KEY, "k", method="PUT"),
    ]
    keys = [read_key(each, {"quantity": 1}) for each in sent] + [read_key(sent[0], {"quantity": 2})]
    assert len({key.request_hash for key in keys if key}) == 4
    assert {key.value for key in keys if key} == {"k"}


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(1, 9_999_999_999), min_size=1), min_size=1), st.data())
def test_any_version_listed_in_any_line_is_allowed(lines: list[list[int]], data: st.DataObject) -> None:
    def listed(versions: list[int]) -> str:
        tags = [f'"{version}"' for version in versions]
        return "".join(data.draw(EMPTY) + tag + data.draw(SPACE) + "," for tag in tags) + data.draw(EMPTY)

    expected = frozenset(version for versions in lines for version in versions)
    assert read(IF_MATCH, *map(listed, lines)) == expected


@given(st.lists(st.sampled_from(('"1"', '"20"', '"0"', 'W/"3"', '""', '"', "4", ",", " ", "*", "W/"))).map("".join))
def test_any_list_of_tags_is_read_or_refused(value: str) -> None:
    """Compared with one that goes from tag to tag."""
    versions, rest = set[int](), value.strip(" ")
    while rest.strip(" ,") and (tag := re.match(r'[ ,]*((?:W/)?"[^" ]*") *(?:,|$)', rest)):
        versions |= {int(number) for number in re.findall(r'^"([1-9]\d{0,9})"$', tag[1])}
        rest = rest[tag.end() :]
    expected = None if value.strip(" ") == "*" else REFUSED if rest.strip(" ,") else versions
    assert read(IF_MATCH, value) == expected
