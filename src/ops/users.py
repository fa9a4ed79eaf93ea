"""`ops broker`: the users of the broker with their permissions, and all that is missing of the topology.

A service writes its own types, and reads its own queues; to these it also sends what it buries, parks or puts off. It
declares and binds them, and the queues beside them, where they were deleted. The operator reads the queues beside
them, and sends to each queue. Nobody writes to the default exchange, which reaches every queue.
"""

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import aiohttp
from yarl import URL

from ops import broker
from ops.errors import OpsError, first_line
from ops.output import Answer
from shared.messaging import topology
from shared.messaging.topology import EXCHANGE, QUEUE_EXCHANGE, QUEUES
from shared.settings import AmqpUrl, Settings, each_host, url

_LIMIT = aiohttp.ClientTimeout(total=30)
_OPERATOR = "operator"


@dataclass(frozen=True, kw_only=True, repr=False)
class _Settings(Settings):
    broker_admin_url: Annotated[str, url("http", "https")]
    products_amqp_url: AmqpUrl
    orders_amqp_url: AmqpUrl
    amqp_url: AmqpUrl


async def run(environ: Mapping[str, str], _: argparse.Namespace) -> Answer:
    """Raises SettingsError or OpsError."""
    found = _Settings.load(environ)
    urls = {"products": found.products_amqp_url, "orders": found.orders_amqp_url, _OPERATOR: found.amqp_url}
    users, admin = {name: URL(each_host(text)[0]) for name, text in urls.items()}, URL(found.broker_admin_url)
    names = {user.user for user in users.values()}
    if len(names) < len(users) or None in names or not admin.user or admin.user in names:
        raise OpsError("each URL must name a user of its own")
    headers = {"Authorization": aiohttp.encode_basic_auth(admin.user, admin.password or "")}
    try:
        async with aiohttp.ClientSession(admin.origin(), headers=headers, timeout=_LIMIT) as session:
            await session.post("/api/definitions", json=definitions(users), raise_for_status=True)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise OpsError(f"the broker's management: {first_line(error)}") from error
    hosts = (URL(host).with_user(admin.user).with_password(admin.password) for host in each_host(found.amqp_url))
    async with broker.connect(*map(str, hosts)) as connection:
        await topology.declare(connection, by_policy=True)
    told = sorted(map(str, names))
    return Answer({"users": told}, f"broker: users {', '.join(told)}")


def definitions(users: Mapping[str, URL]) -> dict[str, list[dict[str, Any]]]:
    """Users, permissions and policies as https://www.rabbitmq.com/docs/definitions imports them, beside all others."""
    vhost = {"vhost": users[_OPERATOR].path[1:] or "/"}
    rights = {each.user: _rights(name) for name, each in users.items()}
    return {
        "users": [{"name": each.user, "password": each.password, "tags": ""} for each in users.values()],
        # Since RabbitMQ 4.2.6 a passive declaration, by which a reader looks at its queue, asks for `configure`.
        "permissions": [
            {"user": user, "configure": _only(declare), "write": _only(write), "read": _only(read), **vhost}
            for user, (declare, write, read, _) in rights.items()
        ],
        "topic_permissions": [
            {"user": user, "exchange": exchange, "write": _only(send), "read": _only(bind), **vhost}
            for user, (*_, keys) in rights.items()
            for exchange, (send, bind) in keys.items()
        ],
        "policies": [
            {"name": q.name, "pattern": _only([q.name]), "apply-to": "queues", "definition": q.policy, **vhost}
            for q in QUEUES
        ],
    }


def _rights(user: str) -> tuple[list[str], list[str], list[str], dict[str, tuple[list[str], list[str]]]]:
    """What it may configure, write and read; the routing keys with which it sends to each exchange, and binds to it.

    To bind a queue it has to write to the queue and to read from the exchange.
    """
    beside = [name for queue in QUEUES if user in (queue.consumer, _OPERATOR) for name in queue.beside]
    if user == _OPERATOR:
        return beside, [QUEUE_EXCHANGE], beside, {QUEUE_EXCHANGE: ([queue.name for queue in QUEUES], [])}
    own = [queue.name for queue in QUEUES if queue.consumer == user]
    sent = [type_.value for queue in QUEUES if queue.sender == user for type_ in queue.types]
    taken = [type_.value for queue in QUEUES if queue.consumer == user for type_ in queue.types]
    keys = {EXCHANGE: (sent, taken), QUEUE_EXCHANGE: (own + beside, own + beside)}
    return own + beside, [*keys, *own, *beside], [*keys, *own], keys


def _only(names: Iterable[str]) -> str:
    return f"^({'|'.join(map(re.escape, names))})$"
