from collections.abc import Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from shared.errors import AppError, Code
from shared.web.headers import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    LAST_EVENT_ID,
    entity_tag,
    read_idempotency_key,
    read_if_match,
    read_key,
    read_last_event_id,
)

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
# What RFC 9110 §5.6.3 allows around a value and in a list.
SPACE = st.text(" \t", max_size=3)
# And §5.6.1.2 between the elements of a list that a recipient takes.
EMPTY = st.text(" \t,", max_size=4)
READERS = {
    IDEMPOTENCY_KEY: read_idempotency_key,
    IF_MATCH: read_if_match,
    LAST_EVENT_ID: read_last_event_id,
}
VALID = {IDEMPOTENCY_KEY: "key", IF_MATCH: '"1"', LAST_EVENT_ID: "1"}


def request(name: str, *values: str, method: str = "POST", path: str = "/orders") -> web.Request:
    return make_mocked_request(method, path, CIMultiDict((name, value) for value in values))


def is_refused(read: Callable[[web.Request], object], name: str, *values: str) -> bool:
    """Whether it is, by the name of the header."""
    try:
        read(request(name, *values))
    except AppError as refusal:
        return refusal.code is Code.VALIDATION_ERROR and [detail.field for detail in refusal.details] == [name]
    return False


@pytest.mark.parametrize("name", [IDEMPOTENCY_KEY, LAST_EVENT_ID])
def test_a_header_that_is_given_twice_is_refused(name: str) -> None:
    assert not is_refused(READERS[name], name, VALID[name])
    assert is_refused(READERS[name], name, VALID[name], VALID[name])


@pytest.mark.parametrize(("name", "expected"), [(IDEMPOTENCY_KEY, None), (IF_MATCH, None), (LAST_EVENT_ID, 0)])
def test_a_header_may_be_missing(name: str, expected: object) -> None:
    assert expected == READERS[name](request("Accept", "*/*"))


@given(VISIBLE, SPACE, SPACE)
def test_a_key_is_taken_without_the_space_around_it(key: str, before: str, after: str) -> None:
    assert read_idempotency_key(request(IDEMPOTENCY_KEY, before + key + after)) == key


@given(st.text(st.sampled_from('a!~"\\ \t\r\x1f\x7f\x85\xa0\N{EM SPACE}ü')) | st.text(st.characters(codec="latin-1")))
def test_only_visible_ascii_is_a_key(value: str) -> None:
    key = value.strip(" \t")
    is_key = 1 <= len(key) <= 255 and all("!" <= character <= "~" for character in key)
    assert is_refused(read_idempotency_key, IDEMPOTENCY_KEY, value) != is_key


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "x" * 256,
        "two words",
        "a\tb",
        "a\x00",
        "a\x7f",
        "ü",
        "\N{NO-BREAK SPACE}key",
        "key\N{EM SPACE}",
        "a\x1f",
    ],
    ids=ascii,
)
def test_no_key(value: str) -> None:
    assert is_refused(read_idempotency_key, IDEMPOTENCY_KEY, value)


def test_a_key_belongs_to_the_method_the_path_and_the_content() -> None:
    sent = [
        request(IDEMPOTENCY_KEY, "k"),
        request(IDEMPOTENCY_KEY, "k", path="/orders/1"),
        request(IDEMPOTENCY_KEY, "k", method="PUT"),
    ]
    keys = [read_key(each, {"quantity": 1}) for each in sent] + [read_key(sent[0], {"quantity": 2})]
    assert len({key.request_hash for key in keys if key}) == 4
    assert {key.value for key in keys if key} == {"k"}


@given(st.lists(st.lists(st.integers(1, 9_999_999_999), min_size=1), min_size=1), st.data())
def test_any_of_the_versions_listed_in_any_line_is_allowed(lines: list[list[int]], data: st.DataObject) -> None:
    def listed(versions: list[int]) -> str:
        tags = [entity_tag(version) for version in versions]
        return "".join(data.draw(EMPTY) + tag + data.draw(SPACE) + "," for tag in tags) + data.draw(EMPTY)

    expected = frozenset(version for versions in lines for version in versions)
    assert expected == read_if_match(request(IF_MATCH, *map(listed, lines)))


@pytest.mark.parametrize(
    "tag",
    [
        *('W/"1"', '""', '"a"', '"-1"', '"1.0"', '"01"', '"0"', '"12345678901"', '"*"', '"W/"', '"\\"', '"\'"'),
        *('"a,b"', '",1,"', '"\xe9"', '"\N{ARABIC-INDIC DIGIT ONE}"'),
    ],
    ids=ascii,
)
def test_a_tag_that_is_not_ours_matches_no_version(tag: str) -> None:
    assert read_if_match(request(IF_MATCH, tag)) == frozenset()
    assert read_if_match(request(IF_MATCH, f'"1", {tag}, "2"')) == frozenset({1, 2})


@pytest.mark.parametrize("value", ["", " ", ",", " ,\t, "], ids=ascii)
def test_an_empty_list_allows_no_version(value: str) -> None:
    assert read_if_match(request(IF_MATCH, value)) == frozenset()


def test_a_star_allows_any_version() -> None:
    assert read_if_match(request(IF_MATCH, " * ")) is None


@pytest.mark.parametrize(
    "value",
    [
        *("1", '"', '"1', '1"', "'1'", '" 1"', '"a\tb"', '"1" "2"', '"1""2"', '"1"2"', '"1";"2"', '"1", 2'),
        *('w/"1"', 'W"1"', 'W/ "1"', "W/1", '*, "1"', '"1", *', "**", "*,", '"\x7f"'),
    ],
    ids=ascii,
)
def test_what_is_no_list_of_tags_is_refused(value: str) -> None:
    assert is_refused(read_if_match, IF_MATCH, value)


def test_a_star_stands_alone() -> None:
    assert is_refused(read_if_match, IF_MATCH, "*", "*")
    assert is_refused(read_if_match, IF_MATCH, "*", '"1"')


@given(st.text(st.sampled_from('"0123456789,* W/')))
def test_anything_is_read_or_refused(value: str) -> None:
    is_refused(read_if_match, IF_MATCH, value)


@pytest.mark.parametrize(("value", "expected"), [("1", 1), (" 7\t", 7), ("0", 0), ("", 0), ("999999999", 999_999_999)])
def test_the_position_after_which_a_stream_goes_on(value: str, expected: int) -> None:
    assert read_last_event_id(request(LAST_EVENT_ID, value)) == expected


@pytest.mark.parametrize(
    "value", ["-1", "+1", "1.0", "one", "1,2", "1 2", "1000000000", "0x1", "\N{ARABIC-INDIC DIGIT ONE}"], ids=ascii
)
def test_no_position(value: str) -> None:
    assert is_refused(read_last_event_id, LAST_EVENT_ID, value)
