import orjson

from shared import tracing
from shared.web import sse


def test_an_event_is_one_frame_whatever_json_it_holds_and_a_heartbeat_is_a_comment() -> None:
    data = orjson.dumps({"a": "two\n\nlines\r"})
    assert sse.frame(2, "status", data) == b'id: 2\nevent: status\ndata: {"a":"two\\n\\nlines\\r"}\n\n'
    assert sse.HEARTBEAT == b":\n\n"


def test_a_stream_is_not_stored_or_held_back_and_names_its_request() -> None:
    token = tracing.current.set(tracing.begin(request_id="my-request"))
    try:
        headers = sse.stream().headers
    finally:
        tracing.current.reset(token)
    assert (headers["Content-Type"], headers["Cache-Control"]) == ("text/event-stream", "no-store")
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Request-ID"] == "my-request"
