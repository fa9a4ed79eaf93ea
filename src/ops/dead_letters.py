"""Lists, shows, replays and drops dead letters."""

import argparse
from collections.abc import Awaitable, Callable, Sequence

from aiormq.abc import AbstractConnection, DeliveredMessage

from ops import broker, letters
from ops.broker import Reading
from ops.errors import OpsError, first_line
from ops.letters import DeadLetter
from ops.output import Answer, printable, table
from shared.messaging.topology import QUEUES, Queue

# Of each queue: what is looked at is held until the end, and the broker has to remember it.
MOST_SEARCHED = 10_000

_HEADINGS = ("ID", "QUEUE", "TYPE", "EVENT", "REASON", "ERROR", "TRACE", "TIME")

Act = Callable[[Reading, DeliveredMessage], Awaitable[None]]


async def run(url: str, options: argparse.Namespace) -> Answer:
    """Raises OpsError."""
    queues = [queue for queue in QUEUES if options.queue in (None, queue.name)]
    async with broker.connect(url) as connection:
        match options.action:
            case "list":
                return await _list(connection, queues, options.limit)
            case "show":
                return await _show(connection, queues, options.ids[0])
            case "replay":
                return await _replay(connection, queues, options.ids)
            case _:
                return await _settle(connection, queues, options.ids, "dropped", Reading.take)


async def _list(connection: AbstractConnection, queues: Sequence[Queue], limit: int) -> Answer:
    found: list[DeadLetter] = []
    ready: dict[str, int] = {}
    for queue in queues:
        async with broker.opened(connection, queue) as reading:
            ready[queue.name] = reading.ready
            found += [_described(queue, message) async for message in reading.letters(limit - len(found))]
    total = sum(ready.values())
    text = table(_HEADINGS, map(_row, found)) if found else "no dead letters"
    if total > len(found):
        text += f"\n{len(found)} of {total} shown"
    return Answer({"deadLetters": [letter.as_json() for letter in found], "ready": ready}, text)


async def _show(connection: AbstractConnection, queues: Sequence[Queue], wanted: str) -> Answer:
    for queue in queues:
        async with broker.opened(connection, queue) as reading:
            async for message in reading.letters(MOST_SEARCHED):
                letter = _described(queue, message)
                if letter.id == wanted:
                    document = {
                        **letter.as_json(),
                        **letters.content(message.header.properties, message.body),
                    }
                    lines = (f"{name}: {printable(str(value))}" for name, value in document.items())
                    return Answer(document, "\n".join(lines))
    raise OpsError(_unknown([wanted]))


async def _replay(connection: AbstractConnection, queues: Sequence[Queue], ids: Sequence[str]) -> Answer:
    channel = await connection.channel(publisher_confirms=True)

    async def resend(reading: Reading, message: DeliveredMessage) -> None:
        await broker.send(channel, reading.queue, message)
        # Only now: a crash in between leaves it in both queues, and an event that comes twice changes nothing.
        await reading.take(message)

    return await _settle(connection, queues, ids, "replayed", resend)


async def _settle(
    connection: AbstractConnection, queues: Sequence[Queue], ids: Sequence[str], done: str, act: Act
) -> Answer:
    """`act` on each of `ids`, or on every letter if there are none; `done` says what that did."""
    wanted = set(ids)
    settled: list[str] = []
    try:
        for queue in queues:
            async with broker.opened(connection, queue) as reading:
                await _settle_queue(reading, wanted if ids else None, settled, act)
    except broker.FAILURES as error:
        raise OpsError(f"the broker failed after {len(settled)} were {done}: {first_line(error)}") from error
    unknown = [identifier for identifier in dict.fromkeys(ids) if identifier in wanted]
    text = f"{len(settled)} {done}" + (f"\n{_unknown(unknown)}" if unknown else "")
    return Answer({done: settled, "unknown": unknown}, text, ok=not unknown)


async def _settle_queue(reading: Reading, wanted: set[str] | None, settled: list[str], act: Act) -> None:
    """Takes what it finds out of `wanted`: of letters that share an id, each mention settles one."""
    if wanted is not None and not wanted:
        return
    async for message in reading.letters(reading.ready if wanted is None else MOST_SEARCHED):
        identifier = letters.identify(reading.queue.name, message.header.properties, message.body)
        if wanted is None or identifier in wanted:
            await act(reading, message)
            settled.append(identifier)
        if wanted is not None:
            wanted.discard(identifier)
            if not wanted:
                return


def _described(queue: Queue, message: DeliveredMessage) -> DeadLetter:
    return letters.describe(queue.name, message.header.properties, message.body)


def _row(letter: DeadLetter) -> Sequence[object]:
    event = letter.event_id if letter.events <= 1 else f"{letter.event_id} and {letter.events - 1} more"
    time = letter.time and f"{letter.time:%Y-%m-%d %H:%M:%S}"
    return (letter.id, letter.queue, letter.event_type, event, letter.reason, letter.error, letter.trace_id, time)


def _unknown(ids: Sequence[str]) -> str:
    named = ", ".join(map(printable, ids))
    return f"not among the dead letters (of each queue {MOST_SEARCHED} are searched): {named}"
