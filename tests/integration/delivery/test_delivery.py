"""Any sequence of requests and deliveries, and the rules that hold whatever the sequence is."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.broker import Vhost
from tests.integration.delivery.ledger import Stock, read_orders, read_stock
from tests.integration.delivery.mail import Letter
from tests.integration.delivery.shop import Shop

_LIMIT = 30.0
# The examples are the same each time. A failure is shown as it was found, because shrinking it takes minutes.
_SETTINGS = settings(
    max_examples=24,
    stateful_step_count=12,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
)


class Ending(NamedTuple):
    """How an order ended; the movements of its stock are in units of its quantity, and alike for all its lines."""

    history: tuple[str, ...]
    outcome: str | None
    movements: tuple[float, ...]


# Every way in which an order may end; with a hold that it has once it has its stock.
ENDINGS = frozenset(
    {
        Ending(("pending", "done"), "reserved", (-1,)),
        Ending(("pending", "rejected"), "rejected", ()),
        Ending(("pending", "cancelled"), "released", (-1, +1)),
        Ending(("pending", "cancelled"), "released", ()),  # the cancellation arrived before the order
        Ending(("pending", "cancelled"), "rejected", ()),  # it was cancelled before the verdict arrived
        Ending(("pending", "done", "cancelled"), "released", (-1, +1)),
        Ending(("pending", "held"), "reserved", (-1,)),  # until its end, which these tests bring about
        Ending(("pending", "held", "done"), "reserved", (-1,)),
        Ending(("pending", "held", "expired"), "released", (-1, +1)),
        Ending(("pending", "held", "cancelled"), "released", (-1, +1)),
        Ending(("pending", "held", "done", "cancelled"), "released", (-1, +1)),
    }
)
_HISTORIES = {("pending",)} | {ending.history for ending in ENDINGS}
_RESERVATIONS = {(ending.outcome, ending.movements) for ending in ENDINGS} | {(None, ())}

# Few products and pieces, so that orders are in each other's way.
_PRODUCTS = 2
_STOCK = st.integers(0, 6)
_QUANTITIES = st.lists(st.integers(1, 3), min_size=1, max_size=2)  # one for each line
_DELTAS = st.sampled_from([-3, -2, -1, 1, 2, 3])
_ANY = st.integers(0, 99)
_SELDOM = st.sampled_from([False, False, True])
_PICKS = st.lists(_ANY, min_size=1, max_size=4)


class AnyDelivery(RuleBasedStateMachine):
    """`run` carries out a coroutine in the loop of the services; `endings` collects the endings of all orders."""

    orders: Bundle[int] = Bundle("orders")

    def __init__(self, shop: Shop, run: Callable[[Coroutine[Any, Any, Any]], Any], endings: set[Ending]) -> None:
        super().__init__()
        self._shop = shop
        self._run = run
        self._endings = endings
        self._entered: dict[int, int] = {}  # the stock of each product without the movements of orders
        self._ordered: dict[int, dict[int, int]] = {}  # the quantity of each product of an order
        self._histories: dict[int, tuple[str, ...]] = {}
        self._stock = Stock({}, {})
        self._requests: list[Letter] = []  # every event that orders wrote for products
        self._verdicts: list[Letter] = []  # every event that products wrote for orders
        self._delivered: set[Letter] = set()

    @initialize(target=orders, qty=_STOCK, quantities=_QUANTITIES, held=st.booleans())
    def begin(self, qty: int, quantities: list[int], held: bool) -> int:
        self._create_product(qty)
        return self._place_order(0, quantities, held=held)

    @precondition(lambda self: len(self._entered) < _PRODUCTS)
    @rule(qty=_STOCK)
    def create_product(self, qty: int) -> None:
        self._create_product(qty)

    @rule(target=orders, product=_ANY, quantities=_QUANTITIES, held=st.booleans(), regretted=_SELDOM)
    def place_order(self, product: int, quantities: list[int], held: bool, regretted: bool) -> int:
        order_id = self._place_order(product, quantities, held=held)
        if regretted:
            assert self._run(self._shop.cancel_order(order_id)) == 200
        return order_id

    @rule(order_id=orders)
    def cancel_order(self, order_id: int) -> None:
        status = self._run(self._shop.cancel_order(order_id))
        assert status == (409 if self._histories[order_id][-1] in {"rejected", "expired"} else 200)

    @rule(order_id=orders)
    def confirm_order(self, order_id: int) -> None:
        status = self._run(self._shop.confirm_order(order_id))
        history = self._histories[order_id]
        assert status == (200 if "held" in history and history[-1] in {"held", "done"} else 409)

    @precondition(lambda self: self._held)
    @rule(pick=_ANY, confirmed=st.booleans())
    def end_hold(self, pick: int, confirmed: bool) -> None:
        order_id = self._held[pick % len(self._held)]
        if confirmed:
            self.confirm_order(order_id)
        else:
            self._run(self._shop.end_hold(order_id))

    @rule(product=_ANY, delta=_DELTAS)
    def adjust_stock(self, product: int, delta: int) -> None:
        product_id = self._product_id(product)
        status = self._run(self._shop.adjust_stock(product_id, delta))
        assert status == (200 if self._stock.qty[product_id] + delta >= 0 else 409)
        if status == 200:
            self._entered[product_id] += delta

    @precondition(lambda self: self._requests)
    @rule(picks=_PICKS)
    def deliver_requests(self, picks: list[int]) -> None:
        self._run(self._shop.mail.to_products(self._picked(self._requests, picks)))

    @precondition(lambda self: self._verdicts)
    @rule(picks=_PICKS)
    def deliver_verdicts(self, picks: list[int]) -> None:
        self._run(self._shop.mail.to_orders(self._picked(self._verdicts, picks)))

    @precondition(lambda self: not self._delivered.issuperset(self._requests))
    @rule(backwards=st.booleans())
    def deliver_the_rest(self, backwards: bool = False) -> None:
        requests = self._undelivered(self._requests)
        self._run(self._shop.mail.to_products(requests[::-1] if backwards else requests))
        self._verdicts += self._run(self._shop.products.take())
        self._run(self._shop.mail.to_orders(self._undelivered(self._verdicts)))

    @invariant()
    def stock_adds_up(self) -> None:
        shop = self._shop
        self._stock = stock = self._run(read_stock(shop.products.database, self._entered, self._ordered))
        self._verdicts += self._run(shop.products.take())
        for product_id, entered in self._entered.items():
            moved = stock.moved[product_id]
            assert stock.qty[product_id] >= 0
            assert moved["initial"] + moved["adjustment"] == entered
            assert stock.qty[product_id] == entered + moved["reserve"] + moved["release"]
            lines = [lines[product_id] for lines in stock.reservations.values() if product_id in lines]
            assert stock.held[product_id] == sum(line.quantity for line in lines if line.held)
        for order_id in self._ordered:
            assert self._reservation(order_id) in _RESERVATIONS

    @invariant()
    def each_order_is_final_once(self) -> None:
        histories = self._run(read_orders(self._shop.orders.database, self._ordered))
        self._requests += self._run(self._shop.orders.take())
        assert histories.keys() == self._ordered.keys()
        for order_id, history in histories.items():
            before = self._histories.get(order_id, ())
            assert history in _HISTORIES
            assert history[: len(before)] == before
        self._histories = histories

    def teardown(self) -> None:
        """Both services agree at last, copies of events change nothing, and cancelling brings back all stock."""
        self.deliver_the_rest()
        endings = self._check_endings()
        self._run(self._shop.mail.to_products(self._requests[::-1]))
        self._run(self._shop.mail.to_orders(self._verdicts[::-1]))
        assert self._check_endings() == endings
        for order_id in self._ordered:
            self._run(self._shop.cancel_order(order_id))
        self.each_order_is_final_once()
        self.deliver_the_rest()
        at_last = self._check_endings()
        assert (self._stock.qty, sum(self._stock.held.values())) == (self._entered, 0)
        self._endings.update(endings.values(), at_last.values())

    def _check_endings(self) -> dict[int, Ending]:
        """Returns the ending of each order."""
        self.stock_adds_up()
        self.each_order_is_final_once()
        endings = {
            order_id: Ending(history, *self._reservation(order_id)) for order_id, history in self._histories.items()
        }
        assert set(endings.values()) <= ENDINGS
        return endings

    def _create_product(self, qty: int) -> None:
        self._entered[self._run(self._shop.create_product(qty))] = qty

    def _place_order(self, product: int, quantities: Sequence[int], *, held: bool) -> int:
        lines = {self._product_id(product + n): quantity for n, quantity in enumerate(quantities)}
        order_id: int = self._run(self._shop.place_order(lines, held=held))
        self._ordered[order_id] = lines
        return order_id

    @property
    def _held(self) -> list[int]:
        return [order_id for order_id, history in self._histories.items() if history[-1] == "held"]

    def _product_id(self, number: int) -> int:
        product_ids = list(self._entered)
        return product_ids[number % len(product_ids)]

    def _reservation(self, order_id: int) -> tuple[str | None, tuple[float, ...]]:
        """Returns the outcome, None if the order has no reservation, and the movements: those of each of its lines."""
        lines, reserved = self._ordered[order_id], self._stock.reservations.get(order_id, {})
        assert {product_id: line.quantity for product_id, line in reserved.items()} in ({}, lines)
        [found] = {
            (
                reserved[product_id].outcome if reserved else None,
                tuple(delta / quantity for delta in self._stock.moved_by[order_id, product_id]),
            )
            for product_id, quantity in lines.items()
        }
        return found

    def _picked(self, letters: Sequence[Letter], picks: Sequence[int]) -> list[Letter]:
        """Picks letters in any order, some perhaps more than once."""
        picked = [letters[pick % len(letters)] for pick in picks]
        self._delivered.update(picked)
        return picked

    def _undelivered(self, letters: Sequence[Letter]) -> list[Letter]:
        rest = [letter for letter in letters if letter not in self._delivered]
        self._delivered.update(rest)
        return rest


@pytest.mark.timeout(180)
async def test_however_events_come_stock_adds_up_and_each_order_ends_once(shop: Shop, vhost: Vhost) -> None:
    loop = asyncio.get_running_loop()
    endings: set[Ending] = set()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(_LIMIT)

    def machine() -> AnyDelivery:
        return AnyDelivery(shop, run, endings)

    await asyncio.to_thread(run_state_machine_as_test, cast("type[AnyDelivery]", machine), settings=_SETTINGS)

    assert endings == ENDINGS  # a run that does not reach every ending shows too little
    assert [await vhost.depth(queue) for queue in ("products.orders.dead", "orders.stock.dead")] == [0, 0]
