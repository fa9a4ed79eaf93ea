"""Settings of the gateway, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.settings import Environment, Listen
from shared.web.client import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the services are and how long they may take."""

    listen: Listen
    products_url: str
    orders_url: str
    limits: Limits

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with everything that is wrong."""
        environment = Environment(environ)
        settings = cls(
            listen=environment.listen(port=4000),
            products_url=environment.url("PRODUCTS_URL", "http", "https"),
            orders_url=environment.url("ORDERS_URL", "http", "https"),
            limits=Limits(
                total=environment.seconds("UPSTREAM_TOTAL_SECONDS", 5.0, low=0.1, high=60.0),
                connect=environment.seconds("UPSTREAM_CONNECT_SECONDS", 1.0, low=0.1, high=60.0),
                read=environment.seconds("UPSTREAM_READ_SECONDS", 5.0, low=0.1, high=60.0),
            ),
        )
        environment.check()
        return settings
