from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from shared import tracing
from shared.web import sse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=10,
)


def events(stream: bytes) -> list[dict[str, str]]:
    """As a browser reads them: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation."""
    found = []
    for block in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        if "data" in fields:
            found.append(fields)
    return found


def test_a_frame() -> None:
    assert sse.frame(2, "status", b'{"a": 1}') == b'id: 2\nevent: status\ndata: {"a": 1}\n\n'


@given(st.lists(JSON, max_size=4))
def test_whatever_json_an_event_holds_arrives_in_one_piece(contents: list[Any]) -> None:
    stream = b"".join(
        sse.HEARTBEAT + sse.frame(position, "status", orjson.dumps(content))
        for position, content in enumerate(contents, 1)
    )
    found = [(event["id"], event["event"], orjson.loads(event["data"])) for event in events(stream)]
    assert found == [(str(position), "status", content) for position, content in enumerate(contents, 1)]


def test_a_heartbeat_is_no_event() -> None:
    assert events(sse.HEARTBEAT * 3) == []


def test_a_stream_is_not_kept_by_anybody_and_names_its_request() -> None:
    token = tracing.current.set(tracing.begin(request_id="my-request"))
    try:
        headers = sse.stream().headers
    finally:
        tracing.current.reset(token)
    assert (headers["Content-Type"], headers["Cache-Control"]) == ("text/event-stream", "no-store")
    assert headers["X-Request-ID"] == "my-request"
