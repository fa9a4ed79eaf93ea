"""Settings of the gateway, from its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Any

from aiohttp import ClientTimeout

from gateway.access.clients import Network, parse_networks
from gateway.access.keyring import ApiKey, parse_keys
from gateway.access.rate import Policy, parse_rate_limit
from shared.settings import Port, ServiceSettings, flag, seconds, urls

_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


def _keys(text: str) -> tuple[ApiKey, ...]:
    """Refuses a text without keys: `$A;$B` of two empty variables is meant to close the gateway, not to open it."""
    keys = tuple(parse_keys(text))
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


# 5,000 a second for a minute, and never more than a minute's worth at once.
_MORE_THAN_ANYONE_ASKS = Policy(300_000, 60, 300_000)
_Urls = Annotated[tuple[str, ...], urls("http", "https")]
_Seconds = Annotated[float, seconds(0.1, 60.0)]


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(ServiceSettings):
    """Where the services are, how long they may take, and which clients may ask for what, how often."""

    port: Port = 4000
    products_url: _Urls
    orders_url: _Urls
    request_seconds: _Seconds = 5.0
    upstream_total_seconds: _Seconds = 4.5
    upstream_connect_seconds: _Seconds = 1.0
    api_keys: Annotated[tuple[ApiKey, ...], _keys] = ()
    rate_limit: Annotated[Policy, parse_rate_limit] = _MORE_THAN_ANYONE_ASKS
    trusted_proxies: Annotated[tuple[Network, ...], parse_networks] = ()
    cors_origins: Annotated[tuple[str, ...], _origins] = ()
    gateway_allow_anonymous: Annotated[bool, flag] = False

    @property
    def limits(self) -> ClientTimeout:
        return ClientTimeout(total=self.upstream_total_seconds, connect=self.upstream_connect_seconds)

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> list[str]:
        # API_KEYS that cannot be read are not among the values, and are a problem of their own.
        if values.get("api_keys") != () or values.get("gateway_allow_anonymous") or _is_loopback(values["host"]):
            return []
        return [
            "API_KEYS is not set: every client that reaches HOST may do everything; "
            "set it, or GATEWAY_ALLOW_ANONYMOUS=true if that is meant"
        ]
