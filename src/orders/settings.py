"""Settings of the order service, from its environment."""

from dataclasses import dataclass
from typing import Annotated

from shared.settings import BackendSettings, Port, flag, seconds, url


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(BackendSettings):
    port: Port = 3002
    products_url: Annotated[str, url("http", "https")]
    stuck_order_seconds: Annotated[float, seconds(1.0, 86400.0)] = 60.0
    # Whether orders of several products, and holds, are accepted: when all services understand them.
    lines_and_holds: Annotated[bool, flag] = False
