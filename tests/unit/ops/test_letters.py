from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
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
NOTHING = dict.fromkeys(["eventType", "eventId", "reason", "error", "traceId", "time"], None)
AT = datetime(2026, 1, 1, tzinfo=UTC)


@given(HEADERS, st.binary() | st.just(b"[[[]]]"))
def test_every_letter_can_be_shown_as_json(headers: dict[str, Any], body: bytes) -> None:
    properties = Basic.Properties(headers=headers)

    shown = {**describe("queue", properties, body), **content(properties, body)}

    assert orjson.loads(orjson.dumps(shown))["queue"] == "queue"


@given(st.tuples(st.text(max_size=3), st.text(max_size=3), st.binary(max_size=3)), st.data())
def test_an_id_is_stable_and_belongs_to_one_letter_alone(first: tuple[str, str, bytes], data: st.DataObject) -> None:
    second = data.draw(st.tuples(st.text(max_size=3), st.text(max_size=3), st.binary(max_size=3)))

    identifiers = [
        identify(queue, Basic.Properties(message_id=message_id), body) for queue, message_id, body in (first, second)
    ]

    assert (identifiers[0] == identifiers[1]) == (first == second)


@pytest.mark.parametrize(
    ("headers", "timestamp", "expected"),
    [
        ({}, None, {}),
        ({"x-reason": "", "traceparent": "none"}, AT, {"time": AT}),
        (
            {"x-death": [{"reason": "delivery_limit", "count": 3, "time": AT}, {"reason": "rejected"}]},
            AT.replace(year=2025),
            {"reason": "delivery_limit", "error": "dead-lettered by the broker, 3 times", "time": AT},
        ),
        (
            {"x-death": [{"reason": "rejected", "count": 1}], "x-reason": b"failed", "x-error": "it broke"},
            None,
            {"reason": "failed", "error": "it broke"},
        ),
        ({"x-death": "nonsense"}, None, {}),
    ],
    ids=["bare", "empty headers", "back from the broker", "buried by a service", "no list"],
)
def test_a_letter_is_described_from_its_headers(
    headers: dict[str, Any], timestamp: datetime | None, expected: dict[str, Any]
) -> None:
    letter = describe("products.orders", Basic.Properties(headers=headers, timestamp=timestamp), b"")

    assert letter == {**NOTHING, "id": letter["id"], "queue": "products.orders", "events": 0, **expected}
