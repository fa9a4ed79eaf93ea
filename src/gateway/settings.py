"""Settings of the gateway, from its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from gateway.access.clients import Network, parse_networks
from gateway.access.keyring import ApiKey, parse_keys
from gateway.access.rate import Policy, parse_rate_limit
from shared.settings import Environment, Listen
from shared.web.client import ClientTimeouts

_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the services are, how long they may take, and who may ask for what, how often."""

    listen: Listen
    products_urls: tuple[str, ...]
    orders_urls: tuple[str, ...]
    request_seconds: float
    limits: ClientTimeouts
    api_keys: list[ApiKey] = field(repr=False)
    rate_limit: Policy | None
    trusted_proxies: tuple[Network, ...]
    cors_origins: tuple[str, ...]

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with everything that is wrong."""
        environment = Environment(environ)
        settings = cls(
            listen=environment.listen(port=4000),
            products_urls=environment.urls("PRODUCTS_URL", "http", "https"),
            orders_urls=environment.urls("ORDERS_URL", "http", "https"),
            request_seconds=environment.seconds("REQUEST_SECONDS", 5.0, low=0.1, high=60.0),
            limits=ClientTimeouts(
                total=environment.seconds("UPSTREAM_TOTAL_SECONDS", 4.5, low=0.1, high=60.0),
                connect=environment.seconds("UPSTREAM_CONNECT_SECONDS", 1.0, low=0.1, high=60.0),
                read=environment.seconds("UPSTREAM_READ_SECONDS", 4.5, low=0.1, high=60.0),
            ),
            api_keys=environment.parsed("API_KEYS", _keys, []),
            rate_limit=environment.parsed("RATE_LIMIT", parse_rate_limit, None),
            trusted_proxies=environment.parsed("TRUSTED_PROXIES", parse_networks, ()),
            cors_origins=environment.parsed("CORS_ORIGINS", _origins, ()),
        )
        anonymous = not environment.text("API_KEYS", "")
        allowed = environment.flag("GATEWAY_ALLOW_ANONYMOUS")
        if anonymous and not allowed and not _is_loopback(settings.listen.host):
            environment.problems.append(
                "API_KEYS is not set: everybody who reaches HOST may do everything; "
                "set it, or GATEWAY_ALLOW_ANONYMOUS=true if that is meant"
            )
        environment.check()
        return settings


def _keys(text: str) -> list[ApiKey]:
    """Raises ValueError for none too: `$A;$B` of two empty variables is meant to close the door, not to open it."""
    keys = parse_keys(text)
    if not keys:
        raise ValueError("names no key; leave it empty if that is meant")
    return keys


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(filter(None, map(str.strip, text.split(","))))
    if not all(map(_ORIGIN.fullmatch, origins)):
        raise ValueError("must be origins such as https://shop.example, or *")
    return origins


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
