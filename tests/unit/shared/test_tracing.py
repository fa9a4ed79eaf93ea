import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import tracing

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
OUR_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

# https://www.w3.org/TR/trace-context/#versioning-of-traceparent and #traceparent-header-field-values
VALID = {
    "sampled": f"00-{TRACE_ID}-{SPAN_ID}-01",
    "not sampled": f"00-{TRACE_ID}-{SPAN_ID}-00",
    "a later version": f"01-{TRACE_ID}-{SPAN_ID}-01",
    "a later version with more fields": f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-brings",
}
INVALID = {
    "empty": "",
    "upper case": f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    "version ff": f"ff-{TRACE_ID}-{SPAN_ID}-01",
    "zero trace id": f"00-{'0' * 32}-{SPAN_ID}-01",
    "zero span id": f"00-{TRACE_ID}-{'0' * 16}-01",
    "version 00 with more fields": f"00-{TRACE_ID}-{SPAN_ID}-01-extra",
    "version 00 with a trailing dash": f"00-{TRACE_ID}-{SPAN_ID}-01-",
    "a later version that goes on without a dash": f"01-{TRACE_ID}-{SPAN_ID}-01.what",
    "short trace id": f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
    "long trace id": f"00-0{TRACE_ID}-{SPAN_ID}-01",
    "no flags": f"00-{TRACE_ID}-{SPAN_ID}",
    "no hex": f"00-{'g' * 32}-{SPAN_ID}-01",
    "space around it": f" 00-{TRACE_ID}-{SPAN_ID}-01",
    "a line feed after it": f"00-{TRACE_ID}-{SPAN_ID}-01\n",
    "two values in one": f"00-{TRACE_ID}-{SPAN_ID}-01,00-{TRACE_ID}-{SPAN_ID}-01",
}

REQUEST_IDS = st.text(string.ascii_letters + string.digits + "._:/+=@-", min_size=1, max_size=128)


def hexadecimal(size: int) -> st.SearchStrategy[str]:
    """Lower-case, `size` bytes, not all zero."""
    return st.integers(1, 256**size - 1).map(lambda number: f"{number:0{2 * size}x}")


@given(hexadecimal(16), hexadecimal(8), st.sampled_from(["00", "01"]))
def test_a_valid_traceparent_is_continued(trace_id: str, span_id: str, flags: str) -> None:
    trace = tracing.begin(f"00-{trace_id}-{span_id}-{flags}")
    expected = (trace_id, flags)
    assert expected == (trace.trace_id, trace.flags)


@given(hexadecimal(16), hexadecimal(8))
def test_the_next_process_continues_what_this_one_sends(trace_id: str, span_id: str) -> None:
    here = tracing.begin(f"00-{trace_id}-{span_id}-01")
    there = tracing.begin(here.traceparent)
    assert there.trace_id == trace_id
    assert len({span_id, here.span_id, there.span_id}) == 3


@pytest.mark.parametrize("traceparent", VALID.values(), ids=VALID)
def test_parse_takes(traceparent: str) -> None:
    assert tracing.trace_id_of(traceparent) == TRACE_ID


@pytest.mark.parametrize("traceparent", INVALID.values(), ids=INVALID)
def test_an_invalid_traceparent_is_replaced(traceparent: str) -> None:
    assert tracing.parse(traceparent) is None
    assert tracing.begin(traceparent).trace_id not in {TRACE_ID, "0" * 32}


@given(st.none() | st.text())
def test_what_is_sent_on_is_valid_whatever_came_in(header: str | None) -> None:
    sent = tracing.begin(header, header).traceparent
    assert OUR_TRACEPARENT.fullmatch(sent)
    assert tracing.parse(sent)


def test_a_later_version_is_sent_on_as_version_00() -> None:
    assert tracing.begin(VALID["a later version with more fields"]).traceparent.startswith(f"00-{TRACE_ID}-")


@pytest.mark.parametrize(("flags", "sent"), [("00", "00"), ("01", "01"), ("03", "01"), ("fe", "00"), ("ff", "01")])
def test_only_the_flag_that_the_standard_defines_is_sent_on(flags: str, sent: str) -> None:
    assert tracing.begin(f"00-{TRACE_ID}-{SPAN_ID}-{flags}").flags == sent


def test_a_trace_of_our_own_is_sampled_and_new_each_time() -> None:
    first, second = tracing.begin(), tracing.begin()
    assert first.flags == "01"
    assert first.trace_id != second.trace_id


@given(REQUEST_IDS)
def test_a_safe_request_id_is_kept(request_id: str) -> None:
    assert tracing.begin(None, request_id).request_id == request_id


@pytest.mark.parametrize("request_id", [None, "", "a" * 129, "with space", 'quo"te', "line\nfeed", "a\n", "ümlaut"])
def test_any_other_request_id_is_replaced(request_id: str | None) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", tracing.begin(None, request_id).request_id)


def test_an_event_without_a_trace_has_no_trace_id() -> None:
    assert tracing.trace_id_of(None) is None


@given(hexadecimal(16))
def test_a_trace_is_resumed_with_a_span_of_its_own(trace_id: str) -> None:
    first, second = tracing.resume(trace_id), tracing.resume(trace_id)
    assert tracing.parse(first) == tracing.parse(second) == (trace_id, "01")
    assert first != second
