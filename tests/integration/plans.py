"""How PostgreSQL answers a query."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg

_LIMIT = 20.0


async def plans(url: str, query: str, *arguments: object) -> list[tuple[str, ...]]:
    """The nodes, outermost first, of the plan for these arguments, and of the one for any.

    A prepared statement gets the latter after a few executions, if it seems to cost no more.
    """
    connection = await asyncpg.connect(url, timeout=_LIMIT, command_timeout=_LIMIT)
    try:
        found = []
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments)
            found.append(tuple(_nodes(json.loads(plan)[0]["Plan"])))
        return found
    finally:
        await connection.close()


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    name = plan["Node Type"]
    yield f"{name} {plan['Scan Direction']} by {plan['Index Name']}" if "Index Name" in plan else name
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
