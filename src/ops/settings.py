"""Where the servers are; each command reads the variables that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import SettingsSchema, load, url


class _BrokerSchema(SettingsSchema):
    amqp_url = url("amqp", "amqps")


class _DatabasesSchema(SettingsSchema):
    products = url("postgresql", "postgres", data_key="PRODUCTS_DATABASE_URL")
    orders = url("postgresql", "postgres", data_key="ORDERS_DATABASE_URL")


class _MigrationSchema(SettingsSchema):
    owner = url("postgresql", "postgres", data_key="DATABASE_OWNER_URL")
    service = url("postgresql", "postgres", data_key="DATABASE_URL")


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The URLs hold passwords and are no part of the repr."""

    products: str = field(repr=False)
    orders: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MigrationUrls:
    """One database, as the role that owns its schema and as the service's own role; both URLs hold passwords."""

    owner: str = field(repr=False)
    service: str = field(repr=False)


def broker_url(environ: Mapping[str, str]) -> str:
    """Raises SettingsError."""
    return str(load(_BrokerSchema(), environ)["amqp_url"])


def database_urls(environ: Mapping[str, str]) -> DatabaseUrls:
    """Raises SettingsError with everything that is wrong."""
    return DatabaseUrls(**load(_DatabasesSchema(), environ))


def migration_urls(environ: Mapping[str, str]) -> MigrationUrls:
    """Raises SettingsError with everything that is wrong."""
    return MigrationUrls(**load(_MigrationSchema(), environ))
