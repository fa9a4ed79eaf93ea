from shared import tracing
from shared.web import sse


def test_a_stream_is_not_stored_or_held_back_and_names_its_request() -> None:
    token = tracing.current.set(tracing.begin(request_id="my-request"))
    try:
        headers = sse.stream().headers
    finally:
        tracing.current.reset(token)
    assert (headers["Content-Type"], headers["Cache-Control"]) == ("text/event-stream", "no-store")
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Request-ID"] == "my-request"
