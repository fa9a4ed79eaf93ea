"""Where the two databases are, for the commands that look at both."""

from dataclasses import dataclass

from shared.settings import PostgresUrl, Settings


@dataclass(frozen=True, kw_only=True, repr=False)
class DatabaseUrls(Settings):
    products_database_url: PostgresUrl
    orders_database_url: PostgresUrl
