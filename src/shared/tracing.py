"""W3C trace context: one trace id for everything that a request causes, in every process."""

import random
import re
from contextvars import ContextVar
from typing import NamedTuple

# https://www.w3.org/TR/trace-context/#traceparent-header: lower-case hex; a version above 00 may carry more fields.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# https://www.w3.org/TR/trace-context/#tracestate-header-field-values, one member of the list.
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(rf"({_KEY})=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]")
_MOST_MEMBERS = 32
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_SAMPLED = 0x01
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


class Trace(NamedTuple):
    """The position of the current work in its trace; `span_id` identifies the part of this process.

    `tracestate` is what other vendors' tracers have noted, for the next process; nothing here reads or adds to it.
    `parent` is the traceparent that it continues.
    """

    trace_id: str
    span_id: str
    flags: str
    request_id: str
    tracestate: str = ""
    parent: str | None = None

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def here() -> Trace:
    """The trace of the current work; a new one for work that no request began."""
    return current.get() or begin()


def begin(traceparent: str | None = None, request_id: str | None = None, tracestate: str = "") -> Trace:
    """Continues a valid traceparent with a new span; replaces an invalid one, and an invalid request id.

    A tracestate is kept beside a valid traceparent only.
    """
    parent = parse(traceparent)
    trace_id, flags = parent or (_random(128), "01")
    if not request_id or not _REQUEST_ID.fullmatch(request_id):
        request_id = _random(128)
    state = parse_state(tracestate) if tracestate and parent else ""
    return Trace(trace_id, _random(64), flags, request_id, state, traceparent if parent else None)


def parse(traceparent: str | None) -> tuple[str, str] | None:
    """The trace id and flags of a valid traceparent, else None."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    # Unknown flags must not be forwarded: https://www.w3.org/TR/trace-context/#other-flags.
    return trace_id, "01" if int(flags, 16) & _SAMPLED else "00"


def parse_state(tracestate: str) -> str:
    """The list without empty members and spaces; empty if any of it is not valid, since then all of it is dropped."""
    members = [stripped for member in tracestate.split(",") if (stripped := member.strip(" \t"))]
    keys = {match[1] for member in members if (match := _MEMBER.fullmatch(member))}
    return ",".join(members) if len(members) == len(keys) <= _MOST_MEMBERS else ""


def resume(trace_id: str) -> str:
    """A traceparent that continues the trace with a new span."""
    return f"00-{trace_id}-{_random(64)}-01"


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id that log lines of an event carry, or None if the event has no valid trace."""
    parsed = parse(traceparent)
    return parsed[0] if parsed else None


def _random(bits: int) -> str:
    """Hex digits that nobody has to be unable to guess; the system's source would be a call of the kernel for each."""
    return f"{random.getrandbits(bits):0{bits // 4}x}"
