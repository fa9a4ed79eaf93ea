"""Settings of the product service, from its environment."""

from dataclasses import dataclass
from typing import Annotated

from shared.settings import AmqpUrl, Port, PostgresUrl, RedisUrl, ServiceSettings, integer


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(ServiceSettings):
    port: Port = 3001
    database_url: PostgresUrl
    statement_cache_size: Annotated[int, integer(0, 10_000)] = 100
    redis_url: RedisUrl
    amqp_url: AmqpUrl
    max_in_flight: Annotated[int, integer(1, 100_000)] = 1_000
