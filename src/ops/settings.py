"""Where the two databases are, for the commands that look at both."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import SettingsSchema, load, url


class _Schema(SettingsSchema):
    products = url("postgresql", "postgres", data_key="PRODUCTS_DATABASE_URL")
    orders = url("postgresql", "postgres", data_key="ORDERS_DATABASE_URL")


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The URLs hold passwords and are no part of the repr."""

    products: str = field(repr=False)
    orders: str = field(repr=False)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "DatabaseUrls":
        """Raises SettingsError with everything that is wrong."""
        return cls(**load(_Schema(), environ))
