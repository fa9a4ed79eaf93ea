"""Queues of the broker, deleted past the services."""

import asyncio

import aiormq

from tools.faults.insistence import insist

CALL_SECONDS = 10.0


async def delete(url: str, *names: str) -> None:
    """With what is in them; one that is not there is no error."""

    async def attempt() -> None:
        async with asyncio.timeout(CALL_SECONDS):
            connection = await aiormq.connect(url)
            try:
                channel = await connection.channel(publisher_confirms=False)
                for name in names:
                    await channel.queue_delete(name)
            finally:
                await connection.close()

    await insist(f"deleting {', '.join(names)}", attempt, OSError, aiormq.exceptions.AMQPError)
