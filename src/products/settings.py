"""Settings of the product service, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import Environment, Listen


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
        environment = Environment(environ)
        settings = cls(
            listen=environment.listen(port=3001),
            database_url=environment.url("DATABASE_URL", "postgresql", "postgres"),
            redis_url=environment.url("REDIS_URL", "redis", "rediss"),
            amqp_url=environment.url("AMQP_URL", "amqp", "amqps"),
            most_in_flight=environment.integer("MAX_IN_FLIGHT", 1_000, low=1, high=100_000),
        )
        environment.check()
        return settings
