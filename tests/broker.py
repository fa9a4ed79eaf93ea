"""What tests see and do at RabbitMQ, past the code under test."""

import itertools
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import aiormq
import orjson
from aiormq.abc import AbstractChannel, DeliveredMessage

from ops import users
from shared.messaging import topology
from tools.stack.rabbitmq import RabbitMQ

USERS = ("products", "orders", "operator")
_HEADERS = {"Authorization": aiohttp.encode_basic_auth("guest", "guest")}
_LIMIT = aiohttp.ClientTimeout(total=20)


class Vhost:
    """A virtual host: queues and connections that no other test sees."""

    def __init__(self, rabbitmq: RabbitMQ, name: str) -> None:
        self.port = rabbitmq.port
        self.name = name
        self.url = rabbitmq.url + name
        self.users: dict[str, str] = {}
        self._admin_url = rabbitmq.ui_url.replace("://", "://guest:guest@")

    async def declare(self) -> None:
        """The topology, as the services declare it."""
        connection = await aiormq.connect(self.url)
        await topology.declare(connection)
        await connection.close()

    async def give_users(self, word: str = "secret", **named: str) -> dict[str, str]:
        """Runs `ops broker` with this password; the URL of each of USERS, some of which may be `named` otherwise."""
        self.users = {user: self.url.replace("guest:guest", f"{named.get(user, user)}:{word}") for user in USERS}
        urls = {f"{user.upper()}_AMQP_URL": url for user, url in self.users.items()}
        urls |= {"AMQP_URL": self.users["operator"], "BROKER_ADMIN_URL": self._admin_url}
        await users.run(urls, Namespace())
        return self.users

    async def publish(self, routing_key: str, body: bytes) -> None:
        async with self.channel() as channel:
            await channel.basic_publish(body, exchange=topology.EXCHANGE, routing_key=routing_key, mandatory=True)

    async def publish_batch(self, *events: dict[str, Any]) -> None:
        """One message; its routing key is the first event's type."""
        await self.publish(events[0]["type"], orjson.dumps(events))

    async def depth(self, queue: str) -> int:
        """Messages that are ready for a consumer."""
        async with self.channel() as channel:
            declared = await channel.queue_declare(queue, passive=True)
        return declared.message_count or 0

    async def take(self, queue: str) -> list[DeliveredMessage]:
        """Takes all that is ready."""
        messages: list[DeliveredMessage] = []
        async with self.channel() as channel:
            while (message := await channel.basic_get(queue, no_ack=True)).delivery_tag:
                messages.append(message)
        return messages

    async def take_events(self, queue: str) -> list[dict[str, Any]]:
        """Takes all that is ready; the events of the batches, in order."""
        return [event for message in await self.take(queue) for event in orjson.loads(message.body)]

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        connection = await aiormq.connect(self.url)
        try:
            yield await connection.channel()
        finally:
            await connection.close()


class Vhosts:
    """Virtual hosts by way of the management API."""

    def __init__(self, rabbitmq: RabbitMQ) -> None:
        self._rabbitmq = rabbitmq
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Vhost]:
        name = f"test-{next(self._numbers)}"
        await self._call("PUT", f"vhosts/{name}")
        yield Vhost(self._rabbitmq, name)
        await self._call("DELETE", f"vhosts/{name}")

    async def limit(self, vhost: Vhost, queue: str, messages: int) -> None:
        """Lets the queue refuse to hold more, as its `x-overflow` says."""
        policy = {"pattern": f"^{queue}$", "definition": {"max-length": messages}, "apply-to": "queues"}
        await self._call("PUT", f"policies/{vhost.name}/limit", policy)

    async def topology(self, vhost: Vhost) -> set[str]:
        """Its bindings, and its queues with their arguments."""
        bindings = await self._call("GET", f"bindings/{vhost.name}")
        queues = await self._call("GET", f"queues/{vhost.name}?columns=name,arguments")
        return {str(each) for each in (*bindings, *queues)}

    async def _call(self, method: str, path: str, content: object = None) -> Any:
        async with (
            aiohttp.ClientSession(self._rabbitmq.ui_url, headers=_HEADERS, timeout=_LIMIT) as session,
            session.request(method, f"/api/{path}", json=content) as response,
        ):
            response.raise_for_status()
            return await response.json() if method == "GET" else None


def headers(message: DeliveredMessage) -> dict[str, Any]:
    """Those that the publisher gave."""
    found: dict[str, Any] = dict(message.header.properties.headers or {})
    found.pop("x-delivery-count", None)  # a quorum queue's own
    return found


def event(event_type: str, data: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """A CloudEvent as JSON; `attributes` go over the usual ones."""
    usual = {"specversion": "1.0", "id": "1", "source": "/test", "type": event_type, "time": "2026-01-01T00:00:00Z"}
    return {**usual, "data": data, **attributes}


def orders_created(product_id: int, order_ids: Sequence[int], quantity: int = 1) -> list[dict[str, Any]]:
    return [
        event("order.created", {"orderId": order_id, "productId": product_id, "quantity": quantity}, id=str(order_id))
        for order_id in order_ids
    ]
