"""What becomes of `traceparent` and `tracestate` on their way to a service.

The cases are those of the W3C's test suite, https://github.com/w3c/trace-context/blob/main/test/test.py.
"""

import string
from collections.abc import Sequence

from shared import tracing
from tests.api import Api
from tests.integration.gateway.behaviour import ok
from tests.integration.upstream import FakeService

TRACE_ID, OTHER_ID, SPAN_ID = (
    "12345678901234567890123456789012",
    "12345678901234567890123456789011",
    "1234567890123456",
)
VALID = f"00-{TRACE_ID}-{SPAN_ID}-01"
KEY = string.ascii_lowercase + string.digits + "_-*/"
VALUE = "".join(map(chr, (*range(0x20, 0x2C), *range(0x2D, 0x3D), *range(0x3E, 0x7F))))

Headers = Sequence[tuple[str, str]]


def members(first: int, last: int) -> str:
    return ",".join(f"bar{number:02}={number:02}" for number in range(first, last + 1))


# A list of header pairs, and whether the service is sent the trace id in them.
PARENTS: list[tuple[Headers, bool]] = [
    ([], False),
    *(([(name, VALID)], True) for name in ("traceparent", "TraceParent", "TrAcEpArEnT", "TRACEPARENT")),
    *(([(name, VALID)], False) for name in ("trace-parent", "trace.parent")),
    ([("traceparent", f"00-{OTHER_ID}-{SPAN_ID}-01"), ("traceparent", VALID)], False),
    ([("traceparent", VALID), ("traceparent", VALID)], False),
    ([("traceparent", f"{VALID},{VALID}")], False),
    *(
        ([("traceparent", value)], continued)
        for value, continued in (
            *((f"00-{TRACE_ID}-{SPAN_ID}-{flags}", True) for flags in ("00", "01", "02", "ff")),
            *((f"{VALID}{more}", False) for more in (".", "-", "-what-the-future-will-be-like")),
            *((f"{version}-{TRACE_ID}-{SPAN_ID}-01", True) for version in ("01", "cc", "fe")),
            (f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like", True),
            (f"cc-{TRACE_ID}-{SPAN_ID}-01.what-the-future-will-be-like", False),
            *(
                (f"{version}-{TRACE_ID}-{SPAN_ID}-01", False)
                for version in ("ff", ".0", "0.", "CC", "000", "0000", "0", "")
            ),
            *(
                (f"00-{trace_id}-{SPAN_ID}-01", False)
                for trace_id in (
                    "0" * 32,
                    f".{TRACE_ID[1:]}",
                    f"{TRACE_ID[:-1]}.",
                    f"{TRACE_ID}3",
                    TRACE_ID[1:],
                    "A" * 32,
                )
            ),
            *(
                (f"00-{TRACE_ID}-{span_id}-01", False)
                for span_id in ("0" * 16, f".{SPAN_ID[1:]}", f"{SPAN_ID[:-1]}.", f"{SPAN_ID}7", SPAN_ID[1:], "A" * 16)
            ),
            *((f"00-{TRACE_ID}-{SPAN_ID}-{flags}", False) for flags in (".0", "0.", "001", "1", "0A", "")),
            *(
                (before + VALID + after, True)
                for before, after in ((" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t"))
            ),
        )
    ),
]
# The values of `tracestate` beside a valid `traceparent`, and what the service is sent.
STATES: list[tuple[Sequence[str], str | None]] = [
    (["foo=1,bar=2"], "foo=1,bar=2"),
    ([""], None),
    *((values, "foo=1") for values in (["foo=1", ""], ["", "foo=1"], ["foo=1,"], [",foo=1"], ["foo=1,,"])),
    (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
    *((values, None) for values in (["foo=1,foo=1"], ["foo=1,foo=2"], ["foo=1", "foo=1"], ["foo=1", "foo=2"])),
    *(([f"{key}={VALUE}"], f"{key}={VALUE}") for key in (KEY, f"{KEY}@a-z0-9_-*/", "0@a")),
    *(
        ([value], "foo=1,bar=2,baz=3")
        for value in ("foo=1 \t , \t bar=2, \t baz=3", "foo=1\t \t,\t \tbar=2,\t \tbaz=3")
    ),
    *(([value], "foo=1") for value in (" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t")),
    *(([value], None) for value in ("foo =1", "FOO=1", "foo.bar=1", "0foo=1", "foo", "=1")),
    *(([f"{key}=1,bar=2"], None) for key in ("foo@", "@foo", "foo@@bar", "foo@bar@baz", "foo@0")),
    ([members(1, 10), members(11, 20), members(21, 30), members(31, 32)], members(1, 32)),
    ([members(1, 10), members(11, 20), members(21, 30), members(31, 33)], None),
    *((["foo=1", f"{key}=1"], f"foo=1,{key}=1") for key in ("z" * 256, "t" * 241 + "@" + "v" * 14)),
    *((["foo=1", f"{key}=1"], None) for key in ("z" * 257, "t" * 242 + "@v", "t@" + "v" * 15)),
    *(([value], None) for value in ("foo=bar=baz", "foo=,bar=3", "foo=b\tr", "foo=ü")),
    (["foo=" + "v" * 256], "foo=" + "v" * 256),
    (["foo=" + "v" * 257], None),
]


async def test_a_valid_traceparent_is_continued_and_any_other_begins_a_trace(
    gateway: Api, orders: FakeService
) -> None:
    orders.respond = ok
    for headers, _ in PARENTS:
        await gateway.get("/orders/7", headers=[*headers, ("tracestate", "foo=1")])

    sent = [(tracing.parse(seen.headers["traceparent"]) or ("", ""))[0] for seen in orders.seen]
    spans = {seen.headers["traceparent"].split("-")[2] for seen in orders.seen}
    continued = [(headers, trace_id == TRACE_ID) for (headers, _), trace_id in zip(PARENTS, sent, strict=True)]
    assert continued == PARENTS
    assert OTHER_ID not in sent
    assert {seen.headers["traceparent"][:3] for seen in orders.seen} == {"00-"}
    assert len(spans | {SPAN_ID, ""}) == len(PARENTS) + 2
    # A tracestate belongs to the traceparent that it came with.
    states = [seen.headers.get("tracestate") for seen in orders.seen]
    assert states == ["foo=1" if continued else None for _, continued in PARENTS]


async def test_a_valid_tracestate_is_passed_on_as_one_list(gateway: Api, orders: FakeService) -> None:
    orders.respond = ok
    for values, _ in STATES:
        states = [("TraceState", value) for value in values]
        await gateway.get(
            "/orders/7", headers=[("traceparent", VALID), *states, ("trace-state", "a=1"), ("trace.state", "b=1")]
        )

    sent = [seen.headers.get("tracestate") for seen in orders.seen]
    assert [(values, state) for (values, _), state in zip(STATES, sent, strict=True)] == STATES
    assert {seen.headers["traceparent"].split("-")[1] for seen in orders.seen} == {TRACE_ID}
