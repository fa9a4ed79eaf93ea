"""Writes closed orders into files, one a month, and then removes from both databases what the files hold.

A run that died anywhere goes on with the next one: a file is read-only once all that it holds is removed.
"""

import argparse
import fcntl
import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import orjson

from ops import checks
from ops.databases import DatabaseUrls, Session, both, session, snapshot
from ops.differences import Order, Reservation, compare, pairs
from ops.errors import OpsError, first_line
from ops.output import Answer, Progress, table

# Lines of a file that one transaction removes, so that its locks are short.
_BATCH = 1_000
_NAME, _FINISHED, _UNFINISHED = "orders-{}.jsonl.gz", 0o444, 0o200
_HEADINGS = ("FILE", "WRITTEN", "REMOVED", "BYTES")

# The key of a request is kept, and a change announced again, for a day.
_MONTHS = """
SELECT to_char(created_at, 'YYYY-MM') AS month, min(id), max(id), count(*)
FROM orders WHERE updated_at < least($1::date, now() - interval '2 days') GROUP BY month ORDER BY month
"""
_ORDERS = f"""
SELECT {checks.ORDER}, json_build_object('order', o, 'history', (
    SELECT json_agg(h) FROM order_history AS h WHERE order_id = id
))::text AS content
FROM orders AS o
WHERE id BETWEEN $1 AND $2 AND to_char(created_at, 'YYYY-MM') = $3
    AND updated_at < least($4::date, now() - interval '2 days') AND status NOT IN ('pending', 'held')
    AND id NOT IN (
        SELECT coalesce((payload ->> 'orderId')::bigint, 0)
        FROM (SELECT payload FROM outbox UNION ALL SELECT payload FROM parked_events) AS waiting
    )
ORDER BY id
"""
_RESERVATIONS = f"""
SELECT order_id, lines, outcome, uid,
       json_build_object('reservations', taken, 'movements', coalesce(moved, '[]'))::text AS content
FROM (
    SELECT {checks.RESERVATION}, json_agg(r) AS taken
    FROM (SELECT * FROM reservations WHERE order_id BETWEEN $1 AND $2 ORDER BY order_id, line) r
    GROUP BY order_id
) r LEFT JOIN (
    SELECT order_id, json_agg(m) AS moved
    FROM (SELECT * FROM stock_movements WHERE order_id BETWEEN $1 AND $2 ORDER BY order_id, id) m
    GROUP BY order_id
) m USING (order_id)
ORDER BY order_id
"""
# These are in migrations/, beside the tables that they take from.
_REMOVE_ORDERS = "SELECT line, is_new FROM archive_orders($1)"
_REMOVE_RESERVATIONS = "SELECT archive_reservations($1)"


async def run(environ: Mapping[str, str], options: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    urls, folder = DatabaseUrls.load(environ), options.directory
    written, removed, stay = Counter[Path](), Counter[Path](), 0
    try:
        async with both(urls, session) as (orders, products):
            with (folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for month, first, last, count in await orders.fetch(_MONTHS, options.before):
                    path = folder / _NAME.format(month)
                    bounds = (first, last, month, options.before)
                    with Progress(path.name, count) as progress:
                        written[path] = await _write(urls, path, progress, *bounds, keep=not options.dry_run)
                    stay += count - written[path]
                for path in [] if options.dry_run else sorted(folder.glob(_NAME.format("*"))):
                    if path.stat().st_mode & _UNFINISHED:
                        with Progress(f"removed of {path.name}", sum(map(len, _batches(path)))) as progress:
                            removed[path] = await _remove(orders, products, path, progress)
                        path.chmod(_FINISHED)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise OpsError(f"{folder}: {first_line(error)}") from error
    files = [
        {
            "file": path.name,
            "written": written[path],
            "removed": removed[path],
            "bytes": path.stat().st_size if path.exists() else None,
        }
        for path in sorted(written | removed)
    ]
    sums = {"written": written.total(), "removed": removed.total(), "stay": stay}
    lines = [table(_HEADINGS, [[*file.values()] for file in files]), ", ".join(f"{k}: {v}" for k, v in sums.items())]
    return Answer({"files": files, **sums}, "\n".join(lines))


async def _write(urls: DatabaseUrls, path: Path, progress: Progress, *bounds: object, keep: bool) -> int:
    """Returns the number of orders that were written; if there is none, the file stays as it is."""
    part, written, kept = path.with_suffix(".part"), set[str](), 0
    with gzip.open(part, "wt", 6, newline="\n") as file:
        async with both(urls, snapshot) as (orders, products):
            async for order, reservation in pairs(
                (checks.with_lines(Order, row) async for row in orders.stream(_ORDERS, *bounds)),
                (checks.with_lines(Reservation, row) async for row in products.stream(_RESERVATIONS, *bounds[:2])),
            ):
                if order and reservation and compare(order, reservation, 0) is None:
                    line = f"{order.content[:-1]}, {reservation.content[1:]}"
                    file.write(line.replace("\n", " ") + "\n")
                    progress.advance()
                    written.add(str(order.uid or order.id))
        for line in chain.from_iterable(_batches(path)):
            earlier = orjson.loads(line)["order"]
            if str(earlier["uid"] or earlier["id"]) not in written:
                file.write(line)
                kept += 1
    _publish(part, path, len(written) + kept, keep=keep and bool(written))
    return len(written)


async def _remove(orders: Session, products: Session, path: Path, progress: Progress) -> int:
    """Returns the number of orders that were removed now, and not by an earlier run that died over them."""
    removed = 0
    for batch in _batches(path):
        gone = await orders.fetch(_REMOVE_ORDERS, batch)
        await products.fetch(_REMOVE_RESERVATIONS, [row["line"] for row in gone])
        removed += sum(row["is_new"] for row in gone)
        progress.advance(len(batch))
    return removed


def _batches(path: Path) -> Iterator[list[str]]:
    """The lines of a file, if it is there. Reading all of them checks the length and the CRC that it ends with."""
    if path.exists():
        with gzip.open(path, "rt", newline="\n") as lines:
            while batch := list(islice(lines, _BATCH)):
                yield batch


def _publish(part: Path, path: Path, lines: int, *, keep: bool) -> None:
    """Raises OpsError, and leaves the file of an earlier run, if the disk does not give back what was written."""
    _sync(part)
    if sum(map(len, _batches(part))) != lines:
        raise OpsError(f"{part} does not read as it was written: nothing was removed")
    if keep:
        part.replace(path)
        _sync(path.parent)
    else:
        part.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
