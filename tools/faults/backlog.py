"""What waits in the broker: the lengths of queues, and what lies in those for dead letters."""

import asyncio
from collections.abc import Mapping
from urllib.parse import quote

import aiohttp
from yarl import URL

from ops import broker, letters
from ops.letters import DeadLetter
from shared.messaging.topology import QUEUES

_LIMIT = 10.0
_HTTP_LIMIT = aiohttp.ClientTimeout(total=_LIMIT)


async def depths(amqp_url: str, ui_url: str) -> Mapping[str, int]:
    """Messages in each queue that exists, the unacknowledged too. Raises OSError, TimeoutError, OpsError.

    What is ready is of this moment; what is delivered and not acknowledged the broker counts every few seconds.
    """
    counted = await _counted(amqp_url, ui_url)
    async with broker.connect(amqp_url) as connection:
        for name in counted:
            async with asyncio.timeout(_LIMIT):
                channel = await connection.channel(publisher_confirms=False)
                declared = await channel.queue_declare(name, passive=True)
                await channel.close()
            counted[name] += declared.message_count or 0
    return counted


async def dead_letters(amqp_url: str) -> tuple[DeadLetter, ...]:
    """All of them; they stay where they are. Raises OpsError."""
    found: list[DeadLetter] = []
    async with broker.connect(amqp_url) as connection:
        for queue in QUEUES:
            async with broker.opened(connection, queue) as reading:
                found += [
                    letters.describe(queue.name, message.header.properties, message.body)
                    async for message in reading.letters(reading.ready)
                ]
    return tuple(found)


async def _counted(amqp_url: str, ui_url: str) -> dict[str, int]:
    """Unacknowledged messages of each of our queues that there is."""
    url = URL(amqp_url)
    vhost = url.path.removeprefix("/") or "/"
    target = URL(f"{ui_url}/api/queues/{quote(vhost, safe='')}", encoded=True)
    credentials = aiohttp.encode_basic_auth(url.user or "", url.password or "")
    try:
        async with (
            aiohttp.ClientSession(headers={"Authorization": credentials}, timeout=_HTTP_LIMIT) as session,
            session.get(target) as response,
        ):
            response.raise_for_status()
            listed = await response.json()
    except aiohttp.ClientError as error:
        raise OSError(f"the broker's management: {error}") from error
    ours = {queue.name for queue in QUEUES}
    return {queue["name"]: queue.get("messages_unacknowledged", 0) for queue in listed if queue["name"] in ours}
