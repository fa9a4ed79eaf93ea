from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.messaging.cloudevents import Event, Unreadable, batch_of, decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.text(min_size=1)
EVENTS = st.builds(
    Event,
    id=NAMES,
    source=NAMES,
    type=NAMES,
    time=st.text(),
    traceparent=st.none() | st.text(),
    data=st.dictionaries(st.text(), JSON, max_size=4),
)
ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.created", "data": {}}


@settings(max_examples=40)
@given(st.lists(EVENTS | JSON, max_size=8))
def test_an_unreadable_element_does_not_hide_its_neighbours(elements: list[Event | Any]) -> None:
    body = b"[" + b",".join(encode([e])[1:-1] if isinstance(e, Event) else orjson.dumps(e) for e in elements) + b"]"
    decoded = decode(body)
    assert len(decoded) == len(elements)
    for element, found in zip(elements, decoded, strict=True):
        if isinstance(element, Event):
            assert element == found
        else:
            assert isinstance(found, Unreadable)
            assert orjson.loads(found.content) == [element]


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"\xff[]", "not JSON"), *((body, "not a CloudEvents batch") for body in (b"{}", b"null", b"1", b'"text"'))],
)
def test_a_body_that_is_no_batch_is_kept_whole(body: bytes, reason: str) -> None:
    assert decode(body) == [Unreadable(body, reason)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"specversion": "0.3"}, "specversion is not 1.0"),
        ({"specversion": None}, "specversion is not 1.0"),
        ({"id": None}, "id is missing"),
        ({"id": ""}, "id is missing"),
        ({"id": 1}, "id is missing"),
        ({"source": None}, "source is missing"),
        ({"type": None}, "type is missing"),
        ({"data": None}, "data is not an object"),
        ({"data": []}, "data is not an object"),
    ],
)
def test_an_element_is_refused_with_its_reason(change: dict[str, Any], reason: str) -> None:
    (found,) = decode(orjson.dumps([ATTRIBUTES | change]))
    assert isinstance(found, Unreadable)
    assert reason == found.reason
    assert orjson.loads(found.content) == [ATTRIBUTES | change]


@pytest.mark.parametrize("depth", [255, 1_000], ids=["deeper than orjson writes", "as deep as orjson reads"])
@pytest.mark.parametrize("in_data", [True, False], ids=["in the data", "in the place of an event"])
def test_a_deeply_nested_element_does_not_hide_its_neighbours(depth: int, in_data: bool) -> None:
    deep = b'{"deep":' * depth + b"1" + b"}" * depth
    element = orjson.dumps(ATTRIBUTES).replace(b"{}", deep) if in_data else deep
    decoded = decode(b"[" + element + b"," + orjson.dumps(ATTRIBUTES) + b"]")
    assert [type(found) for found in decoded] == [Unreadable, Event]


def test_a_message_with_deeply_nested_elements_is_kept_whole_once() -> None:
    deep = b'{"deep":' * 255 + b"1" + b"}" * 255
    body = b"[" + b",".join([deep, orjson.dumps(ATTRIBUTES), deep, b"17", deep]) + b"]"
    kept, *others = decode(body)
    assert kept == Unreadable(body, "nested too deeply")
    assert others == [Event("1", "/orders", "order.created", "", None, {}), Unreadable(b"[17]", "not an object")]


def test_an_event_that_could_be_read_can_be_written_however_deep_it_is() -> None:
    for depth in range(245, 260):
        deep = b'{"deep":' * depth + b"1" + b"}" * depth
        body = b"[" + orjson.dumps(ATTRIBUTES).replace(b"{}", deep) + b"]"
        events = [found for found in decode(body) if isinstance(found, Event)]
        assert events == decode(encode(events))


def test_optional_attributes_may_be_absent_and_unknown_ones_present() -> None:
    (event,) = decode(orjson.dumps([ATTRIBUTES | {"traceparent": 1, "subject": "unknown here"}]))
    assert event == Event("1", "/orders", "order.created", "", None, {})


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4))
def test_an_event_that_was_read_is_written_alone_with_all_its_attributes(extensions: list[dict[str, Any]]) -> None:
    elements = [extension | ATTRIBUTES for extension in extensions]
    events = [found for found in decode(orjson.dumps(elements)) if isinstance(found, Event)]
    assert [[element] for element in elements] == [orjson.loads(batch_of(event)) for event in events]


def test_an_event_is_written_as_cloudevents_says() -> None:
    time = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    event = Event("1", "/orders", "order.created", time, "00-1-2-01", orjson.Fragment(b'{"orderId": 7}'))
    expected = (
        b'[{"specversion":"1.0","id":"1","source":"/orders","type":"order.created","time":"2024-02-29T12:30:00Z",'
        b'"traceparent":"00-1-2-01","data":{"orderId": 7}}]'
    )
    assert encode([event]) == batch_of(event) == expected
    assert b"traceparent" not in encode([Event("1", "/orders", "order.created", time, None, {})])
