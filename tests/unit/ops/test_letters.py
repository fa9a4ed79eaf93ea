from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from ops.letters import content, describe, identify

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary() | st.datetimes(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)
HEADERS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["x-death", "x-reason", "x-error", "traceparent", "other"]), VALUES | st.lists(st.just({}))
)


@given(HEADERS, st.binary() | st.just(b"[[[]]]"))
def test_every_letter_can_be_shown_as_json(headers: dict[str, Any], body: bytes) -> None:
    properties = Basic.Properties(headers=headers)

    shown = {**describe("queue", properties, body).as_json(), **content(properties, body)}

    assert orjson.loads(orjson.dumps(shown))["queue"] == "queue"


@given(st.tuples(st.text(max_size=3), st.text(max_size=3), st.binary(max_size=3)), st.data())
def test_an_id_is_stable_and_of_one_letter_alone(first: tuple[str, str, bytes], data: st.DataObject) -> None:
    second = data.draw(st.tuples(st.text(max_size=3), st.text(max_size=3), st.binary(max_size=3)))

    identifiers = [
        identify(queue, Basic.Properties(message_id=message_id), body) for queue, message_id, body in (first, second)
    ]

    assert (identifiers[0] == identifiers[1]) == (first == second)


def test_a_letter_without_any_properties() -> None:
    letter = describe("products.orders", Basic.Properties(), b"")

    assert letter.as_json() == {
        "id": letter.id,
        "queue": "products.orders",
        "eventType": None,
        "eventId": None,
        "events": 0,
        "reason": None,
        "error": None,
        "traceId": None,
        "time": None,
    }


def test_a_letter_of_the_broker_that_came_back_often() -> None:
    headers: dict[str, Any] = {"x-death": [{"reason": "delivery_limit", "count": 3, "queue": "products.orders"}]}

    letter = describe("products.orders", Basic.Properties(headers=headers), b"[]")

    assert (letter.reason, letter.error) == ("delivery_limit", "dead-lettered by the broker, 3 times")
