"""Settings of the product service, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import Listen, ServiceSchema, integer, load, url


class Variables(ServiceSchema):
    port = integer(3001, 0, 65535)
    database_url = url("postgresql", "postgres")
    redis_url = url("redis", "rediss")
    amqp_url = url("amqp", "amqps")
    most_in_flight = integer(1_000, 1, 100_000, data_key="MAX_IN_FLIGHT")


@dataclass(frozen=True, slots=True)
class Settings:
    """The URLs hold passwords and are no part of the repr."""

    listen: Listen
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    amqp_url: str = field(repr=False)
    most_in_flight: int

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with everything that is wrong."""
        return cls(**load(Variables(), environ))
