import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import tracing

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

# Those that tests/integration/gateway/test_trace_context.py does not have, or that HTTP does not carry as they are.
INVALID = {
    "empty": "",
    "no flags": f"00-{TRACE_ID}-{SPAN_ID}",
    "no hex": f"00-{'g' * 32}-{SPAN_ID}-01",
    "space around it": f" 00-{TRACE_ID}-{SPAN_ID}-01",
    "a line feed after it": f"00-{TRACE_ID}-{SPAN_ID}-01\n",
}

REQUEST_IDS = st.text(string.ascii_letters + string.digits + "._:/+=@-", min_size=1, max_size=128)


def hexadecimal(size: int) -> st.SearchStrategy[str]:
    """Lower-case, `size` bytes, not all zero."""
    return st.integers(1, 256**size - 1).map(lambda number: f"{number:0{2 * size}x}")


@given(hexadecimal(16), hexadecimal(8), st.sampled_from(["00", "01"]))
def test_each_process_continues_a_traceparent_with_its_own_span(trace_id: str, span_id: str, flags: str) -> None:
    here = tracing.begin(f"00-{trace_id}-{span_id}-{flags}")
    there = tracing.begin(here.traceparent)
    assert (here.trace_id, here.flags) == (there.trace_id, there.flags) == (trace_id, flags)
    assert len({span_id, here.span_id, there.span_id}) == 3


@pytest.mark.parametrize("traceparent", [*INVALID.values(), None], ids=[*INVALID, "none"])
def test_an_invalid_traceparent_is_replaced_by_a_new_sampled_one(traceparent: str | None) -> None:
    first, second = tracing.begin(traceparent), tracing.begin(traceparent)
    assert (tracing.parse(traceparent), tracing.trace_id_of(traceparent)) == (None, None)
    assert len({first.trace_id, second.trace_id, TRACE_ID, "0" * 32}) == 4
    assert first.flags == "01"


@given(st.none() | st.text())
def test_any_header_leads_to_a_valid_traceparent(header: str | None) -> None:
    sent = tracing.begin(header, header).traceparent
    assert TRACEPARENT.fullmatch(sent)
    assert tracing.parse(sent)


@pytest.mark.parametrize(("flags", "sent"), [("00", "00"), ("01", "01"), ("03", "01"), ("fe", "00"), ("ff", "01")])
def test_only_the_flag_that_the_standard_defines_is_sent_on(flags: str, sent: str) -> None:
    assert tracing.begin(f"00-{TRACE_ID}-{SPAN_ID}-{flags}").flags == sent


@given(REQUEST_IDS)
@example("a" * 128)
def test_a_safe_request_id_is_kept(request_id: str) -> None:
    assert tracing.begin(None, request_id).request_id == request_id


@pytest.mark.parametrize("request_id", [None, "", "a" * 129, "with space", 'quo"te', "line\nfeed", "a\n", "ümlaut"])
def test_any_other_request_id_is_replaced(request_id: str | None) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", tracing.begin(None, request_id).request_id)


@given(hexadecimal(16))
def test_a_trace_is_resumed_with_a_span_of_its_own(trace_id: str) -> None:
    first, second = tracing.resume(trace_id), tracing.resume(trace_id)
    assert tracing.parse(first) == tracing.parse(second) == (trace_id, "01")
    assert first != second
