"""The Redis that takes writes: that of its URL, or the one that Sentinels name; and when another one has taken over.

A server gives itself a new replication id when it starts and when it is promoted. A pool is for one such id: to a
server that has another one, and to a replica, it makes no connection.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.maint_notifications import MaintNotificationsConfig

from shared.settings import each_host

_ASK = 0.5  # seconds for what the Sentinels have to say
_OFF = MaintNotificationsConfig(enabled=False)


class Primary:
    """`on_change` is called with the reason when the connections do not lead to it any more."""

    def __init__(self, url: str, limit: float, on_change: Callable[[Exception], None]) -> None:
        """Connects within `limit` seconds; to none before `renew` was called."""
        parts, *_ = hosts = [urlsplit(each) for each in each_host(url)]
        self._name = ""
        if parts.scheme == "redis+sentinel":
            self._name, _, database = parts.path[1:].partition("/")
            parts = parts._replace(scheme="redis", path=f"/{database}")
        self._options: dict[str, Any] = {**parse_url(parts.geturl())}
        login: dict[str, Any] = {"password": self._options.pop("sentinel_password", None)}
        self._sentinels: list[Any] = [
            Redis(host=str(each.hostname), port=each.port or 26379, maint_notifications_config=_OFF, **login)
            for each in (hosts if self._name else [])
        ]
        self._limit, self._on_change = limit, on_change
        self._address: dict[str, Any] = {}
        self._replication: dict[str, str] = {}
        self._redis: Redis | None = None

    @property
    def redis(self) -> Redis:
        if self._redis is None:
            raise NotConnected("no Sentinel has named the primary")
        return self._redis

    async def is_same(self) -> bool:
        """Whether the connections lead to the primary; says so if not. Raises redis' errors if that is not known."""
        is_same = await self._find() == self._address
        if is_same:
            async with asyncio.timeout(self._limit):
                is_same = self._replication.items() <= (await self.redis.info("replication")).items()
        if not is_same:
            self._on_change(NotConnected("another server is the primary"))
        return is_same

    async def renew(self) -> None:
        """Leaves all connections for those to the server that is the primary now; what they are waiting for fails."""
        self._address, old, self._replication = await self._find(), self._redis, {}
        pool = BlockingConnectionPool(
            **self._options | self._address,
            max_connections=4,
            timeout=None,  # each command has its limit, and timers of the library's own would be three more
            socket_timeout=None,
            socket_connect_timeout=self._limit,
            retry=Retry(NoBackoff(), 1),
            maint_notifications_config=_OFF,
            redis_connect_func=partial(self._handshake, self._replication),
        )
        self._redis = Redis(connection_pool=pool)
        if old:
            await old.connection_pool.disconnect()

    async def close(self) -> None:
        for each in filter(None, (*self._sentinels, self._redis)):
            await each.connection_pool.disconnect()

    async def _handshake(self, replication: dict[str, str], connection: Any) -> None:
        """Opens a connection to the primary with this replication id, whichever it is if none has been seen yet."""
        await connection.on_connect()
        await connection.send_command("INFO", "replication")
        lines = (await connection.read_response()).decode().splitlines()
        found = dict(line.split(":", 1) for line in lines if line.startswith(("role:", "master_replid:")))
        if replication is not self._replication:
            raise NotConnected("these connections were left")
        if found.get("role") != "master" or (replication or found) != found:
            self._on_change(error := NotConnected("the server is a replica, or another one than before"))
            raise error
        replication.update(found)

    async def _find(self) -> dict[str, Any]:
        """The address after the latest failover that any of the Sentinels knows of; empty where the URL has it."""
        if not self._sentinels:
            return {}
        answers = await asyncio.gather(*map(self._ask, self._sentinels), return_exceptions=True)
        known = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not known:
            raise NotConnected("no Sentinel names the primary")
        return max(known, key=itemgetter(0))[1]

    async def _ask(self, sentinel: Any) -> tuple[int, dict[str, Any]]:
        async with asyncio.timeout(_ASK):
            state = await sentinel.execute_command("SENTINEL MASTER", self._name)
            # The state has the old address for as long as replicas are still told of the new one.
            host, port = await sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._name)
        return state["config-epoch"], {"host": host.decode(), "port": port}
