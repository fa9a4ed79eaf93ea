"""What an operator does about a database that was restored: docs/restore.md."""

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator

from ops import letters, repair
from ops.steps import Step
from tools.faults import state
from tools.faults.evidence import Breach, Difference
from tools.faults.state import Access
from tools.stack.http import call

_POLL_SECONDS = 0.2
# No order is on its way any more.
_REPAIR = Namespace(apply=True, older_than=-1.0, settle=0.5)
_MOST_REPAIRS = 4


async def repaired(access: Access, restored: str, settle: float) -> AsyncIterator[Difference]:
    """Repairs until nothing is left to do, and cancels what is oversold.

    Yields orders that became done without stock of their own. If it is `products-db` that was restored, they had it.
    """
    for _ in range(_MOST_REPAIRS):
        async with asyncio.timeout(settle):
            while not await state.is_quiet(access):  # noqa: ASYNC110  # nothing announces it
                await asyncio.sleep(_POLL_SECONDS)
        answer = await repair.run(state.operators(access), _REPAIR)
        for action in answer.document["actions"]:
            if action["step"] == Step.OVERSOLD:
                await call("POST", f"{access.services['orders-1']}/orders/{action['orderId']}/cancel")
            if action["step"] in {Step.OVERSOLD, Step.RESERVE} and restored == "orders-db":
                text = f"order {action['orderId']} of product {action['productId']}: {action['why']}"
                yield Difference(Breach.RESERVATION, text, action["traceId"], action["orderId"])
        await letters.run(
            state.operators(access), Namespace(command="dead-letters", action="replay", queue=None, ids=[])
        )
        if not answer.document["actions"]:
            return
