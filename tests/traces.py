"""The trace that requests and events of tests belong to."""

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def traceparent(trace_id: str = TRACE_ID) -> str:
    return f"00-{trace_id}-b7ad6b7169203331-01"


TRACE = {"traceparent": traceparent()}
