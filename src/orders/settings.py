"""Settings of the order service, from its environment."""

from dataclasses import dataclass
from typing import Annotated

from shared.settings import AmqpUrl, Port, PostgresUrl, RedisUrl, ServiceSettings, flag, integer, seconds, url


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(ServiceSettings):
    port: Port = 3002
    database_url: PostgresUrl
    statement_cache_size: Annotated[int, integer(0, 10_000)] = 100
    redis_url: RedisUrl
    amqp_url: AmqpUrl
    products_url: Annotated[str, url("http", "https")]
    stuck_order_seconds: Annotated[float, seconds(1.0, 86400.0)] = 60.0
    max_in_flight: Annotated[int, integer(1, 100_000)] = 1_000
    # Whether orders of several products, and holds, are accepted: when all services understand them.
    lines_and_holds: Annotated[bool, flag] = False
