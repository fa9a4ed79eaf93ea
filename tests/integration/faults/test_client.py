"""What clients send, how often, and what they note, against a server that answers by a script."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from shared.tracing import parse
from shared.web.client import ClientTimeouts
from tests.integration.gateway.behaviour import Gate, half, turns
from tests.integration.upstream import FakeService, Respond, Seen, envelope, fake_service, hang, reset, respond_with
from tests.waiting import eventually
from tools.faults.client import PATIENCE, create_products, drive
from tools.faults.plan import Operation, Plan, Product
from tools.faults.record import Outcome, Record

SHORT = ClientTimeouts(total=0.5, connect=0.5, read=0.5)
LONG = ClientTimeouts(total=20.0, connect=20.0, read=20.0)
PRODUCTS = (Product("1.00", 10), Product("2.50", 20))
KEYED = Operation(0.0, "order", 0, 2, key="key")
UNKEYED = Operation(0.0, "order", 1, 3)

accepted = respond_with(201, envelope(201, {"id": 41}))
fine = respond_with(200, envelope(200, {"id": 41}))
unavailable = respond_with(503, envelope(503, None, error={"code": "unavailable"}), {"Retry-After": "1"})
in_progress = respond_with(409, envelope(409, None, error={"code": "conflict"}), {"Retry-After": "1"})
conflict = respond_with(409, envelope(409, None, error={"code": "conflict"}))
no_json = respond_with(502, b"<html>")

UNCERTAIN: dict[str, Respond] = {
    "503": unavailable,
    "502": no_json,
    "in progress": in_progress,
    "reset": reset,
    "half": half,
    "silence": hang,
}


@dataclass
class Shop:
    """Answers each line `METHOD /path` with a script of its own; the products it creates are 11, 12 and so on."""

    server: FakeService
    scripts: dict[str, Respond] = field(default_factory=lambda: defaultdict(lambda: fine))

    async def respond(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/products":
            return await respond_with(201, envelope(201, {"id": 10 + len(self.seen("POST /products"))}))(request)
        return await self.scripts[f"{request.method} {request.path}"](request)

    def seen(self, line: str) -> list[Seen]:
        return [each for each in self.server.seen if f"{each.method} {each.target}" == line]

    @property
    def lines(self) -> list[str]:
        return [f"{each.method} {each.target}" for each in self.server.seen if each.target != "/products"]


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with fake_service() as server:
        shop = Shop(server)
        server.respond = shop.respond
        yield shop


def plan_of(*operations: Operation, seconds: float = 1.0) -> Plan:
    return Plan(7, seconds, PRODUCTS, operations, ())


async def driven(shop: Shop, *operations: Operation, limits: ClientTimeouts = LONG) -> list[Outcome]:
    """Without the time that it takes to create products."""
    record = Record(products=[11, 12])
    await drive(plan_of(*operations), shop.server.url, record, limits=limits)
    assert [outcome.operation for outcome in record.outcomes] == [*operations]
    return record.outcomes


def statuses(outcome: Outcome) -> list[int | None]:
    return [attempt.status for attempt in outcome.attempts]


def bodies(seen: list[Seen]) -> list[Any]:
    return [json.loads(each.body) for each in seen]


async def test_products_are_there_before_the_first_operation(shop: Shop) -> None:
    shop.scripts["POST /orders"] = accepted
    record = Record()
    await drive(plan_of(KEYED), shop.server.url, record)
    assert record.products == [11, 12]
    first, second, order = shop.server.seen
    expected = [
        {"name": "Product 0 of round 7", "price": "1.00", "qty": 10},
        {"name": "Product 1 of round 7", "price": "2.50", "qty": 20},
        {"productId": 11, "quantity": 2},
    ]
    assert expected == bodies([first, second, order])


async def test_a_product_that_is_refused_ends_it(shop: Shop) -> None:
    shop.server.respond = turns(accepted, unavailable)
    record = Record()
    with pytest.raises(RuntimeError, match=r"Product 1 of round 7 was not accepted.*503"):
        await create_products(plan_of(KEYED), shop.server.url, record)
    assert record.products == [41]


async def test_each_action_is_the_request_that_it_means(shop: Shop) -> None:
    shop.scripts["POST /orders"] = accepted
    await driven(
        shop,
        UNKEYED,
        Operation(0.02, "cancel", 1, of=0),
        Operation(0.04, "adjust", 1, -4, key="another"),
        Operation(0.06, "reprice", 0, price="9.99"),
        Operation(0.08, "read", 0),
        Operation(0.10, "list", 1),
    )
    expected = [
        ("POST /orders", {"productId": 12, "quantity": 3}, None),
        ("POST /orders/41/cancel", None, None),
        ("POST /products/12/stock", {"delta": -4, "reason": "operation 2"}, "another"),
        ("PATCH /products/11", {"price": "9.99"}, None),
        ("GET /products/11", None, None),
        ("GET /orders/product/12", None, None),
    ]
    found = [
        (line, json.loads(each.body) if each.body else None, each.headers.get("Idempotency-Key"))
        for line, each in zip(shop.lines, shop.server.seen, strict=True)
    ]
    assert expected == found


@pytest.mark.parametrize("broken", UNCERTAIN.values(), ids=UNCERTAIN)
async def test_what_has_a_key_is_repeated_until_its_answer_is_certain(shop: Shop, broken: Respond) -> None:
    shop.scripts["POST /orders"] = turns(broken, broken, accepted)
    [outcome] = await driven(shop, KEYED, limits=SHORT if broken is hang else LONG)
    seen = shop.seen("POST /orders")
    assert [each.headers["Idempotency-Key"] for each in seen] == ["key"] * 3
    assert len({each.body for each in seen}) == 1
    assert outcome.answer == outcome.attempts[-1]
    assert (len(outcome.attempts), outcome.attempts[-1].data) == (3, {"id": 41})


@pytest.mark.parametrize("broken", UNCERTAIN.values(), ids=UNCERTAIN)
@pytest.mark.parametrize(
    ("line", "operation"),
    [
        ("POST /orders", UNKEYED),
        ("PATCH /products/11", Operation(0.0, "reprice", 0, price="9.99")),
        ("GET /products/11", Operation(0.0, "read", 0)),
        ("GET /orders/product/11", Operation(0.0, "list", 0)),
    ],
)
async def test_what_has_none_is_sent_once(shop: Shop, broken: Respond, line: str, operation: Operation) -> None:
    """Reads too, although aiohttp would repeat those that broke off."""
    shop.scripts[line] = broken
    [outcome] = await driven(shop, operation, limits=SHORT if broken is hang else LONG)
    assert shop.lines == [line]
    assert (len(outcome.attempts), outcome.answer) == (1, None)


async def test_a_refusal_is_certain(shop: Shop) -> None:
    shop.scripts["POST /products/11/stock"] = conflict
    [outcome] = await driven(shop, Operation(0.0, "adjust", 0, -99, key="key"))
    assert statuses(outcome) == [409]
    assert outcome.answer


async def test_a_certain_answer_is_asked_for_again(shop: Shop) -> None:
    shop.scripts["POST /orders"] = turns(unavailable, accepted, unavailable, accepted)
    [outcome] = await driven(shop, Operation(0.0, "order", 0, 1, key="key", again=2))
    assert statuses(outcome) == [503, 201, 503, 201]
    assert outcome.answer == outcome.attempts[1]


async def test_every_try_has_a_trace_of_its_own(shop: Shop) -> None:
    shop.scripts["POST /orders"] = turns(unavailable, reset, accepted)
    outcomes = await driven(shop, KEYED, Operation(0.0, "read", 0))
    sent = [parse(each.headers["traceparent"]) for each in shop.server.seen]
    noted = {attempt.trace_id for outcome in outcomes for attempt in outcome.attempts}
    assert noted == {trace[0] for trace in sent if trace}
    assert len(noted) == len(sent) == 4


async def test_what_is_noted_of_an_answer(shop: Shop) -> None:
    shop.scripts["POST /orders"] = turns(no_json, hang, reset, in_progress, accepted)
    [outcome] = await driven(shop, KEYED, limits=SHORT)
    html, silence, broken, deferred, last = outcome.attempts
    assert (html.status, html.body, html.error) == (502, None, "")
    assert (silence.status, silence.body) == (None, None)
    assert "Timeout" in silence.error
    assert 0.45 < silence.ended - silence.began < 5
    assert (broken.status, broken.body) == (None, None)
    assert "Disconnected" in broken.error
    assert (deferred.status, deferred.is_deferred) == (409, True)
    assert (last.status, last.body) == (201, json.loads(envelope(201, {"id": 41})))
    assert all(before.ended <= after.began for before, after in pairwise(outcome.attempts))


async def test_operations_begin_at_their_times(shop: Shop) -> None:
    first, second, third = await driven(shop, *[Operation(at, "read", 0) for at in (0.0, 0.1, 0.3)])
    began = [outcome.attempts[0].began for outcome in (first, second, third)]
    assert began[0] < began[1] < began[2]
    assert began[1] > 0.09
    assert began[2] > 0.29


async def test_nobody_waits_for_another_operation(shop: Shop) -> None:
    gate = Gate(accepted)
    shop.scripts["POST /orders"] = gate.respond
    record = Record(products=[11, 12])
    driving = asyncio.create_task(
        drive(plan_of(UNKEYED, Operation(0.0, "read", 0)), shop.server.url, record, limits=LONG)
    )
    await eventually(lambda: len(record.outcomes) == 2 and record.outcomes[1].attempts)
    assert (gate.waiting, record.outcomes[0].attempts) == (1, [])
    gate.open()
    await driving


async def test_a_cancel_waits_for_its_order_and_is_repeated(shop: Shop) -> None:
    shop.scripts["POST /orders"] = turns(unavailable, unavailable, accepted)
    shop.scripts["POST /orders/41/cancel"] = turns(reset, unavailable, fine)
    order, cancel = await driven(shop, KEYED, Operation(0.0, "cancel", 0, of=0))
    assert shop.lines == ["POST /orders"] * 3 + ["POST /orders/41/cancel"] * 3
    assert (statuses(order), statuses(cancel)) == ([503, 503, 201], [None, 503, 200])


@pytest.mark.parametrize("refusal", [unavailable, reset, conflict])
async def test_an_order_that_was_not_accepted_is_not_cancelled(shop: Shop, refusal: Respond) -> None:
    shop.scripts["POST /orders"] = refusal
    _, cancel = await driven(shop, UNKEYED, Operation(0.0, "cancel", 1, of=0))
    assert shop.lines == ["POST /orders"]
    assert cancel.attempts == []


async def test_a_cancel_does_not_wait_until_its_order_was_sent_again(shop: Shop) -> None:
    shop.scripts["POST /orders"] = accepted
    again = Operation(0.0, "order", 0, 1, key="key", again=2)
    await driven(shop, again, Operation(0.0, "cancel", 0, of=0))
    assert shop.lines[:2] == ["POST /orders", "POST /orders/41/cancel"]
    assert shop.lines[2:] == ["POST /orders"] * 2


async def test_prices_of_a_product_are_set_one_after_the_other(shop: Shop) -> None:
    one, other = Gate(fine), Gate(fine)
    shop.scripts["PATCH /products/11"], shop.scripts["PATCH /products/12"] = one.respond, other.respond
    prices = [Operation(0.0, "reprice", 0, price=f"{number}.00") for number in range(1, 6)]
    record = Record(products=[11, 12])
    operations = plan_of(*prices, Operation(0.0, "reprice", 1, price="7.00"))
    driving = asyncio.create_task(drive(operations, shop.server.url, record, limits=LONG))
    await eventually(lambda: (one.waiting, other.waiting) == (1, 1))
    one.open()
    other.open()
    await driving
    assert [each["price"] for each in bodies(shop.seen("PATCH /products/11"))] == [each.price for each in prices]
    assert (one.most, other.most) == (1, 1)


async def test_no_more_than_200_requests_are_in_flight(shop: Shop) -> None:
    gate = Gate(fine)
    shop.scripts["GET /products/11"] = gate.respond
    record = Record(products=[11, 12])
    reads = plan_of(*[Operation(0.0, "read", 0)] * 250)
    started = time.monotonic()
    driving = asyncio.create_task(drive(reads, shop.server.url, record, started=started, limits=LONG))
    await eventually(lambda: gate.waiting >= 200)
    opened = time.monotonic() - started
    gate.open()
    await driving
    assert gate.most == 200
    assert [statuses(outcome) for outcome in record.outcomes] == [[200]] * 250
    assert sum(outcome.attempts[0].began > opened for outcome in record.outcomes) == 50


async def test_nothing_begins_after_the_last_moment(shop: Shop) -> None:
    shop.scripts["POST /orders"] = unavailable
    record = Record(products=[11, 12])
    plan = plan_of(KEYED, Operation(0.0, "cancel", 0, of=0))
    began = time.monotonic()
    await drive(plan, shop.server.url, record, started=began - plan.seconds - PATIENCE + 1.0, limits=SHORT)
    assert 0.5 < time.monotonic() - began < 3.0
    order, cancel = record.outcomes
    assert len(order.attempts) > 1
    assert all(attempt.began < plan.seconds + PATIENCE for attempt in order.attempts)
    assert (order.answer, cancel.attempts) == (None, [])


async def test_of_a_round_that_is_over_nothing_is_sent(shop: Shop) -> None:
    record = Record(products=[11, 12])
    plan = plan_of(KEYED, UNKEYED, Operation(0.0, "reprice", 0, price="9.99"), Operation(0.0, "read", 0))
    await drive(plan, shop.server.url, record, started=time.monotonic() - plan.seconds - PATIENCE)
    assert (shop.lines, [outcome.attempts for outcome in record.outcomes]) == ([], [[]] * 4)


async def test_a_server_that_is_gone_is_noted_too(shop: Shop) -> None:
    record = Record(products=[11, 12])
    await drive(plan_of(UNKEYED), "http://127.0.0.1:1", record, limits=SHORT)
    [[attempt]] = [outcome.attempts for outcome in record.outcomes]
    assert (attempt.status, attempt.is_certain) == (None, False)
    assert "Connect" in attempt.error
