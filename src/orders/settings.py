"""Settings of the order service, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import Environment, Listen


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
        environment = Environment(environ)
        settings = cls(
            listen=environment.listen(port=3002),
            database_url=environment.url("DATABASE_URL", "postgresql", "postgres"),
            redis_url=environment.url("REDIS_URL", "redis", "rediss"),
            amqp_url=environment.url("AMQP_URL", "amqp", "amqps"),
            products_url=environment.url("PRODUCTS_URL", "http", "https"),
            stuck_order_seconds=environment.seconds("STUCK_ORDER_SECONDS", 60.0, low=1.0, high=86400.0),
            most_in_flight=environment.integer("MAX_IN_FLIGHT", 1_000, low=1, high=100_000),
        )
        environment.check()
        return settings
