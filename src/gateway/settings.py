"""Settings of the gateway, from its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from marshmallow import ValidationError, post_load, validates_schema

from gateway.access.clients import Network, parse_networks
from gateway.access.keyring import ApiKey, parse_keys
from gateway.access.rate import Policy, parse_rate_limit
from shared.settings import Listen, Parsed, ServiceSchema, flag, integer, load, seconds, urls
from shared.web.client import ClientTimeouts

_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


def _keys(text: str) -> list[ApiKey]:
    """Refuses a text without keys: `$A;$B` of two empty variables is meant to close the gateway, not to open it."""
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


class Variables(ServiceSchema):
    port = integer(4000, 0, 65535)
    products_urls = urls("http", "https", data_key="PRODUCTS_URL")
    orders_urls = urls("http", "https", data_key="ORDERS_URL")
    request_seconds = seconds(5.0, 0.1, 60.0)
    total = seconds(4.5, 0.1, 60.0, data_key="UPSTREAM_TOTAL_SECONDS")
    connect = seconds(1.0, 0.1, 60.0, data_key="UPSTREAM_CONNECT_SECONDS")
    read = seconds(4.5, 0.1, 60.0, data_key="UPSTREAM_READ_SECONDS")
    api_keys = Parsed(_keys, load_default=list)
    rate_limit = Parsed(parse_rate_limit, load_default=None)
    trusted_proxies = Parsed(parse_networks, load_default=())
    cors_origins = Parsed(_origins, load_default=())
    allow_anonymous = flag(data_key="GATEWAY_ALLOW_ANONYMOUS")

    @validates_schema(skip_on_field_errors=False)
    def _anonymous_only_where_allowed(self, values: dict[str, Any], **_: Any) -> None:
        # API_KEYS that cannot be read are not among the values, and are a problem of their own.
        if values.get("api_keys") == [] and not values.get("allow_anonymous") and not _is_loopback(values["host"]):
            raise ValidationError(
                "is not set: every client that reaches HOST may do everything; "
                "set it, or GATEWAY_ALLOW_ANONYMOUS=true if that is meant",
                "API_KEYS",
            )

    @post_load
    def _limits(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        del values["allow_anonymous"]
        limits = ClientTimeouts(values.pop("total"), values.pop("connect"), values.pop("read"))
        return {"limits": limits, **values}


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the services are, how long they may take, and which clients may ask for what, how often."""

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
        return cls(**load(Variables(), environ))
