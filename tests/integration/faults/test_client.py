"""Clients send and repeat what the plan says, and record the answers of a server that answers by a script."""

import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import orjson
import pytest
from aiohttp import web

from shared.tracing import parse
from tests.integration.gateway.behaviour import half, turns
from tests.integration.upstream import FakeService, Respond, envelope, fake_service, reset, respond_with
from tools.faults import client
from tools.faults.client import PATIENCE, clients
from tools.faults.plan import Operation, Plan, Product
from tools.faults.record import Outcome, Record

SEVERAL = Operation(0.0, "order", 0, 2, more=((1, 3),), hold=4, reference="R-1", priced=True)
KEYED = Operation(0.0, "order", 0, 2, key="key")
UNKEYED = Operation(0.0, "order", 1, 3)

accepted = respond_with(201, envelope(201, {"id": 41}))
fine = respond_with(200, envelope(200, {"id": 41}))
unavailable = respond_with(503, envelope(503, None, error={"code": "unavailable"}), {"Retry-After": "1"})
in_progress = respond_with(409, envelope(409, None, error={"code": "conflict"}), {"Retry-After": "1"})
conflict = respond_with(409, envelope(409, None, error={"code": "conflict"}))
taken = respond_with(409, envelope(409, None, error={"code": "duplicate_reference"}))
no_json = respond_with(502, b"<html>")

UNCERTAIN: dict[str, Respond] = {
    "503": unavailable,
    "502": no_json,
    "in progress": in_progress,
    "reset": reset,
    "half": half,
}


@dataclass
class Shop:
    """Answers each line `METHOD /path` with a script of its own; the products it creates are 11, 12 and so on."""

    server: FakeService
    scripts: dict[str, Respond] = field(default_factory=lambda: defaultdict(lambda: fine))

    async def respond(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/products":
            return await respond_with(201, envelope(201, {"id": 10 + len(self.server.seen)}))(request)
        return await self.scripts[f"{request.method} {request.path}"](request)

    @property
    def lines(self) -> list[str]:
        return [f"{each.method} {each.target}" for each in self.server.seen if each.target != "/products"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSES", (0.0, 0.01))
    monkeypatch.setattr(client, "_LATER", 0.01)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with fake_service() as server:
        shop = Shop(server)
        server.respond = shop.respond
        yield shop


async def driven(shop: Shop, *operations: Operation, ago: float = 0.0) -> list[Outcome]:
    """Plays a round that began `ago` seconds ago."""
    record = Record(Plan(7, 1.0, (Product("1.00", 10), Product("2.50", 20)), operations, ()))
    async with clients(shop.server.url, record) as driving:
        await driving.create_products()
        await driving.drive(time.monotonic() - ago)
    assert record.products == [11, 12]
    return record.outcomes


def statuses(outcome: Outcome) -> list[int | None]:
    return [attempt.status for attempt in outcome.attempts]


async def test_every_request_has_a_trace_of_its_own_which_is_recorded(shop: Shop) -> None:
    shop.scripts["POST /orders"] = turns(unavailable, reset, accepted)
    outcomes = await driven(shop, KEYED, Operation(0.0, "read", 0))
    sent = [trace[0] for each in shop.server.seen[2:] if (trace := parse(each.headers["traceparent"]))]
    recorded = {attempt.trace_id for outcome in outcomes for attempt in outcome.attempts}
    assert recorded == set(sent)
    assert len(recorded) == len(sent) == 4


@pytest.mark.parametrize("broken", UNCERTAIN.values(), ids=UNCERTAIN)
async def test_a_request_with_a_key_is_repeated_until_its_answer_is_certain(shop: Shop, broken: Respond) -> None:
    shop.scripts["POST /orders"] = turns(broken, broken, accepted, unavailable)
    [outcome] = await driven(shop, Operation(0.0, "order", 0, 2, key="key", again=1))
    seen = shop.server.seen[2:]
    assert [each.headers["Idempotency-Key"] for each in seen] == ["key"] * 4
    assert len({each.body for each in seen}) == 1
    assert outcome.answer == outcome.attempts[2]
    assert outcome.attempts[2].accepted_id == 41


@pytest.mark.parametrize("broken", UNCERTAIN.values(), ids=UNCERTAIN)
@pytest.mark.parametrize("operation", [UNKEYED, Operation(0.0, "read", 0)], ids=["order", "read"])
async def test_a_request_without_a_key_is_sent_once(shop: Shop, broken: Respond, operation: Operation) -> None:
    """That holds for reads too, although aiohttp would repeat those that broke off."""
    shop.scripts["POST /orders"] = shop.scripts["GET /products/11"] = broken
    [outcome] = await driven(shop, operation)
    assert (len(shop.lines), len(outcome.attempts), outcome.answer) == (1, 1, None)


async def test_an_order_of_several_lines_is_sent_as_planned_and_repeated_for_its_reference(shop: Shop) -> None:
    shop.scripts["POST /orders"] = turns(reset, unavailable, taken)
    [outcome] = await driven(shop, SEVERAL)
    lines = [
        {"productId": 11, "quantity": 2, "unitPrice": "1.00"},
        {"productId": 12, "quantity": 3, "unitPrice": "2.50"},
    ]
    assert (statuses(outcome), outcome.attempts[-1].code) == ([None, 503, 409], "duplicate_reference")
    sent = [orjson.loads(each.body) for each in shop.server.seen[2:]]
    assert sent == [{"lines": lines, "holdSeconds": 4, "reference": "R-1"}] * 3


async def test_a_hold_is_extended_and_confirmed_until_the_answer_is_certain(shop: Shop) -> None:
    shop.scripts["POST /orders"] = accepted
    shop.scripts["POST /orders/41/hold"] = turns(in_progress, fine)
    shop.scripts["POST /orders/41/confirm"] = turns(unavailable, conflict)
    extend = Operation(0.0, "extend", 0, of=0, hold=3)
    _, extended, confirmed = await driven(shop, SEVERAL, extend, Operation(0.0, "confirm", 0, of=0))
    assert (statuses(extended), statuses(confirmed)) == ([409, 200], [503, 409])
    assert {each.body for each in shop.server.seen if each.target.endswith("/hold")} == {b'{"holdSeconds":3}'}


async def test_a_cancel_waits_for_its_order_and_is_repeated(shop: Shop) -> None:
    shop.scripts["POST /orders"] = turns(unavailable, accepted)
    shop.scripts["POST /orders/41/cancel"] = turns(reset, unavailable, fine)
    order, cancel = await driven(shop, KEYED, Operation(0.0, "cancel", 0, of=0))
    assert shop.lines == ["POST /orders"] * 2 + ["POST /orders/41/cancel"] * 3
    assert (statuses(order), statuses(cancel)) == ([503, 201], [None, 503, 200])


async def test_an_order_that_was_refused_is_not_cancelled(shop: Shop) -> None:
    shop.scripts["POST /orders"] = conflict
    order, cancel = await driven(shop, UNKEYED, Operation(0.0, "cancel", 1, of=0))
    assert (statuses(order), cancel.attempts) == ([409], [])
    assert order.answer


async def test_nothing_begins_after_the_last_moment(shop: Shop) -> None:
    shop.scripts["POST /orders"] = unavailable
    order, cancel = await driven(shop, KEYED, Operation(0.0, "cancel", 0, of=0), ago=PATIENCE)
    assert len(order.attempts) > 1
    assert all(attempt.began < 1.0 + PATIENCE for attempt in order.attempts)
    assert (order.answer, cancel.attempts) == (None, [])
