"""Where the servers are; each command asks for the ones that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import Environment


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """They hold passwords and are no part of the repr."""

    products: str = field(repr=False)
    orders: str = field(repr=False)


def broker_url(environ: Mapping[str, str]) -> str:
    """Raises SettingsError."""
    environment = Environment(environ)
    url = environment.url("AMQP_URL", "amqp", "amqps")
    environment.check()
    return url


def database_urls(environ: Mapping[str, str]) -> DatabaseUrls:
    """Raises SettingsError with everything that is wrong."""
    environment = Environment(environ)
    urls = DatabaseUrls(
        products=environment.url("PRODUCTS_DATABASE_URL", "postgresql", "postgres"),
        orders=environment.url("ORDERS_DATABASE_URL", "postgresql", "postgres"),
    )
    environment.check()
    return urls
