"""Draws the plan of a round: what clients do, and what is broken meanwhile."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from tools.faults.plan import (
    BROKER,
    DATABASES,
    LINKS,
    PARTS,
    PRODUCTS,
    QUEUES,
    REDISES,
    Action,
    Fault,
    Kind,
    Operation,
    Plan,
    Product,
)


class _Habit(NamedTuple):
    """How often a kind of fault is drawn compared with the others, for how many seconds, and on which targets."""

    weight: int
    seconds: tuple[float, float]
    targets: Sequence[str]


_HABITS: Mapping[Kind, _Habit] = MappingProxyType(
    {
        Kind.KILL: _Habit(4, (0.5, 3.0), PARTS),
        Kind.TERMINATE: _Habit(2, (0.5, 3.0), PARTS),
        Kind.FREEZE: _Habit(3, (1.0, 4.0), PARTS),
        Kind.RESET: _Habit(2, (1.0, 4.0), LINKS),
        Kind.CUT: _Habit(2, (1.0, 4.0), LINKS),
        Kind.STALL: _Habit(2, (1.0, 4.0), LINKS),
        Kind.MUTE: _Habit(2, (1.0, 4.0), LINKS),
        Kind.LAG: _Habit(1, (1.0, 4.0), LINKS),
        Kind.READ_ONLY: _Habit(1, (1.0, 4.0), DATABASES),
        Kind.DISK_FULL: _Habit(1, (1.0, 4.0), DATABASES),
        Kind.ALARM: _Habit(1, (2.0, 5.0), (BROKER,)),
        Kind.DELETE_QUEUE: _Habit(1, (1.0, 1.0), QUEUES),
        Kind.DELETE_BINDING: _Habit(1, (1.0, 1.0), QUEUES),
        Kind.DELETE_DEAD: _Habit(1, (1.0, 1.0), QUEUES),
        Kind.LOCK: _Habit(1, (1.0, 6.0), DATABASES),
        Kind.REFUSE: _Habit(1, (1.0, 4.0), DATABASES),
        Kind.CUT_ANSWER: _Habit(2, (1.0, 4.0), [link for link in LINKS if link.endswith("-db")]),
        Kind.SPOIL: _Habit(1, (2.0, 6.0), REDISES),
        Kind.CLOCK: _Habit(1, (2.0, 6.0), (*DATABASES, *REDISES)),
    }
)
ALL = frozenset(Kind)

# A broker that is silent for long enough has missed its heartbeats: system.HEARTBEAT.
_SILENT = frozenset({Kind.FREEZE, Kind.STALL, Kind.MUTE})
_SILENCE = (1.0, 10.0)
_JUMP = (600, 7200)
# The share of rounds that break nothing else: what a database has lost is mended by hand, and judged by less.
_RESTORED = 0.1
# How many faults come together, within what time, and the seconds of peace before and after.
_BURSTS: Mapping[int, int] = MappingProxyType({1: 60, 2: 25, 3: 15})
_SPREAD = 1.0
_QUIET = (2.0, 4.0)

_ACTIONS: Mapping[Action, int] = MappingProxyType(
    {"order": 58, "cancel": 4, "confirm": 8, "extend": 3, "adjust": 7, "reprice": 4, "read": 9, "list": 7}
)
# A cancel at the time of its order meets `order.created` on its way.
_CANCELLED_AT_ONCE = 0.05
_KEYED, _AGAIN = 2 / 3, 0.2
# How many products an order has: half of them one.
_LINES: Mapping[int, int] = MappingProxyType({1: 10, 2: 4, 3: 3, 4: 2, 5: 1})
_HELD, _REFERRED, _PRICED = 0.3, 0.1, 0.05
# Seconds of a hold, and for how long after its order clients confirm or extend it: some come too late.
_HOLD, _INTEREST = (1, 3), 4.0
_HOT, _AMPLE, _SCARCE = range(1), range(1, 4), range(4, PRODUCTS)
_PLENTY = 1_000_000
_CENTS = 100
# Above every first price; each reprice sets another one, so a price identifies the request that set it.
_REPRICED = 10_000


def draw(seed: int, seconds: float, kinds: Collection[Kind] = ALL, *, rate: float = 60.0) -> Plan:
    """A plan with `rate` operations a second; what clients do does not depend on `kinds`."""
    products = _random(seed, "products")
    return Plan(
        seed=seed,
        seconds=seconds,
        products=tuple(_product(products, index) for index in (*_HOT, *_AMPLE, *_SCARCE)),
        operations=_Operations(seed).draw(seconds, rate),
        faults=_faults(_random(seed, "faults"), seconds, kinds),
    )


def _random(seed: int, what: str) -> random.Random:
    return random.Random(f"{seed} {what}")  # noqa: S311  # a plan is no secret


def _faults(rng: random.Random, seconds: float, kinds: Collection[Kind]) -> tuple[Fault, ...]:
    if Kind.RESTORE in kinds and (len(kinds) == 1 or rng.random() < _RESTORED):
        return (Fault(seconds * 0.2, seconds * 0.2, Kind.RESTORE, rng.choice(DATABASES)),)
    drawn: list[Fault] = []
    wanted = [kind for kind in _HABITS if kind in kinds]  # the order of a set differs between processes
    begin = rng.uniform(*_QUIET)
    while wanted and begin < seconds:
        drawn += [fault for fault in _burst(rng, begin, wanted) if fault.at + fault.seconds <= seconds]
        begin = max([begin, *(fault.at + fault.seconds for fault in drawn)]) + rng.uniform(*_QUIET)
    return tuple(sorted(drawn, key=lambda fault: fault.at))


def _burst(rng: random.Random, begin: float, kinds: Sequence[Kind]) -> Iterator[Fault]:
    """The first fault begins at once, the others soon after it."""
    [size] = rng.choices([*_BURSTS], [*_BURSTS.values()])
    for number in range(size):
        [kind] = rng.choices(kinds, [_HABITS[kind].weight for kind in kinds])
        target = rng.choice(_HABITS[kind].targets)
        seconds = _SILENCE if kind in _SILENT and target.endswith(BROKER) else _HABITS[kind].seconds
        yield Fault(
            at=round(begin + (rng.uniform(0, _SPREAD) if number else 0.0), 2),
            seconds=round(rng.uniform(*seconds), 2),
            kind=kind,
            target=target,
            size=rng.choice((-1, 1)) * rng.randint(*_JUMP) if kind is Kind.CLOCK else 0.0,
        )


def _product(rng: random.Random, index: int) -> Product:
    return Product(_price(rng.randint(1, _REPRICED - 1)), rng.randint(20, 200) if index in _SCARCE else _PLENTY)


def _price(cents: int) -> str:
    return f"{cents // _CENTS}.{cents % _CENTS:02}"


class _Operations:
    """The operations of one plan, in the order of their times."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = _random(seed, "operations")
        self._drawn: list[Operation] = []
        self._orders: list[int] = []
        self._held: list[int] = []
        self._extended: set[int] = set()

    def draw(self, seconds: float, rate: float) -> tuple[Operation, ...]:
        at = self._rng.expovariate(rate)
        while at < seconds:
            self._add(at)
            at += self._rng.expovariate(rate)
        return tuple(self._drawn)

    def _add(self, at: float) -> None:
        [action] = self._rng.choices([*_ACTIONS], [*_ACTIONS.values()])
        match action:
            case "cancel" if self._orders:
                self._end(at, "cancel", self._rng.choice(self._rng.choice((self._held, self._orders)) or self._orders))
            case "confirm" | "extend" if recent := [i for i in self._held if self._drawn[i].at > at - _INTEREST]:
                self._end(at, action, self._rng.choice(recent))
            case "adjust":
                self._adjust(at)
            case "reprice":
                price = _price(_REPRICED + len(self._drawn))
                self._drawn.append(Operation(at, "reprice", self._rng.choice(_HOT), price=price))
            case "read":
                self._drawn.append(Operation(at, "read", self._any(hot=6)))
            case "list":
                self._drawn.append(Operation(at, "list", self._any(hot=3)))
            case _:
                self._order(at)

    def _order(self, at: float) -> None:
        index = len(self._drawn)
        [lines] = self._rng.choices([*_LINES], [*_LINES.values()])
        products: dict[int, None] = {}  # each once, in the order in which they are drawn
        while len(products) < lines:
            products[self._any(hot=3)] = None
        (product, quantity), *more = ((each, self._quantity(each)) for each in products)
        key = self._key() if self._rng.random() < _KEYED else None
        self._drawn.append(
            Operation(
                at,
                "order",
                product,
                quantity,
                key=key,
                again=self._rng.randint(1, 2) if key and self._rng.random() < _AGAIN else 0,
                more=tuple(more),
                hold=self._rng.randint(*_HOLD) if self._rng.random() < _HELD else 0,
                reference=f"R-{self._key()}" if self._rng.random() < _REFERRED else None,
                priced=self._rng.random() < _PRICED,
            )
        )
        self._orders.append(index)
        if self._drawn[index].hold:
            self._held.append(index)
        if self._rng.random() < _CANCELLED_AT_ONCE:
            self._end(at, "cancel", index)

    def _quantity(self, product: int) -> int:
        return self._rng.randint(1, 10 if product in _SCARCE else 5)

    def _end(self, at: float, action: Action, order: int) -> None:
        """Cancels, confirms or extends an order; it is extended once."""
        if action == "extend" and order in self._extended:
            action = "confirm"
        hold = 0
        if action == "extend":
            hold = _HOLD[1]  # not over before its answer, even if that is lost and the extension repeated
            self._extended.add(order)
        self._drawn.append(Operation(at, action, self._drawn[order].product, of=order, hold=hold))

    def _adjust(self, at: float) -> None:
        """Mostly refills. Only they are sent again: a refusal is not kept under its key and may not be repeated."""
        product = self._rng.choice(_SCARCE) if self._rng.random() < 2 / 3 else self._any(hot=1)
        delta = self._rng.randint(5, 40) if self._rng.random() < 2 / 3 else -self._rng.randint(1, 30)
        again = self._rng.randint(1, 2) if delta > 0 and self._rng.random() < _AGAIN else 0
        self._drawn.append(Operation(at, "adjust", product, delta, key=self._key(), again=again))

    def _key(self) -> str:
        return f"{self._seed}-{len(self._drawn)}"

    def _any(self, *, hot: int) -> int:
        """The index of any product; the hot one counts `hot` times."""
        products: list[int] = [*_HOT] * hot + [*_AMPLE, *_SCARCE]
        return self._rng.choice(products)
