"""Settings of the order service, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import Listen, ServiceSchema, integer, load, seconds, url


class Variables(ServiceSchema):
    port = integer(3002, 0, 65535)
    database_url = url("postgresql", "postgres")
    redis_url = url("redis", "rediss")
    amqp_url = url("amqp", "amqps")
    products_url = url("http", "https")
    stuck_order_seconds = seconds(60.0, 1.0, 86400.0)
    most_in_flight = integer(1_000, 1, 100_000, data_key="MAX_IN_FLIGHT")


@dataclass(frozen=True, slots=True)
class Settings:
    """The URLs of servers hold passwords and are no part of the repr."""

    listen: Listen
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    amqp_url: str = field(repr=False)
    products_url: str
    stuck_order_seconds: float
    most_in_flight: int

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with everything that is wrong."""
        return cls(**load(Variables(), environ))
