"""Decides who is let in, and how often, by the head of a request, before its body is read."""

import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway import metrics
from gateway.access.clients import Network, bucket, client_address
from gateway.access.keyring import ApiKey, Keyring, require
from gateway.access.rate import Decision, RateLimiter, Refusals
from gateway.headers import API_KEY, FORWARDED_FOR
from gateway.routes import route_of
from gateway.scopes import Scope
from shared import logs
from shared.errors import AppError, Code
from shared.web import middleware
from shared.web.health import DETAILED
from shared.web.middleware import Handler

if TYPE_CHECKING:
    from shared.web.connection import Connection

# The address that a request comes from, and the name of its API key, if it has one.
CLIENT = web.RequestKey("client", str)
KEY_NAME = web.RequestKey("key_name", str)
# Whom its requests, bytes and places are counted for: the key, or without one the address or its network.
COUNTED_FOR = web.RequestKey("counted_for", str)
# What its answer shows of the rate limit.
_LIMIT = web.RequestKey("limit", Mapping[str, str])

# Where a key may stand, and what makes an Authorization of it.
_KEY_HEADERS = (("Authorization", ""), (API_KEY, "Bearer "))
# What the gateway answers itself is public but for these paths.
_OWN_SCOPES = {"/metrics": Scope.OPS}


def trace(trusted: Sequence[Network]) -> Middleware:
    """Like `middleware.trace`, and every log line of the request names its client, those of refusals included."""

    @web.middleware
    async def of_client(request: web.Request, handler: Handler) -> web.StreamResponse:
        client = client_address(request.remote or "", request.headers.getall(FORWARDED_FOR, ()), trusted)
        request[CLIENT] = client
        logs.about.set({"client": client})
        return await middleware.trace(request, handler)

    return of_client


def guard(keyring: Keyring | None, limiter: RateLimiter, refusals: Refusals) -> Middleware:
    """Without a keyring every client may do everything."""

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check(request)
            return await handler(request)
        except (AppError, web.HTTPException):
            if seconds := refusals.delay(request[COUNTED_FOR], time.monotonic()):
                await cast("Connection", request.protocol).hold(seconds)
                if not request.content.is_eof():
                    request.protocol.close()  # to read and drop the body would cost more than the refusal
            raise

    def check(request: web.Request) -> None:
        route = route_of(request)
        client = request[CLIENT]
        key: ApiKey | None = None
        try:
            if keyring is not None:
                key = keyring.find(_authorization(request))
        finally:
            # A wrong key counts too, against the address that tries it.
            request[COUNTED_FOR] = counted_for = f"key {key.name}" if key else bucket(client)
            if route is not None:
                now = time.monotonic()
                refusals.saw(counted_for, now)
                _take(request, limiter.take(counted_for, now), limiter)
        if key is not None:
            request[KEY_NAME] = key.name
            logs.about.set({"client": client, "key_name": key.name})
        if keyring is not None:
            require(key, route.scope if route is not None else _OWN_SCOPES.get(request.path))
            request[DETAILED] = key is not None and Scope.OPS in key.scopes

    return let_in


async def finish(
    refusals: Refusals, holder_of: Callable[[str], str | None], request: web.BaseRequest, response: web.StreamResponse
) -> None:
    """Runs on `on_response_prepare`, because a stream sends its headers before its handler returns.

    Holds back the refusal of what the guard has not seen: of a head that is malformed, or that no parser takes.
    """
    if COUNTED_FOR in request:
        response.headers.update(request.get(_LIMIT, {}))
    elif response.status >= HTTPStatus.BAD_REQUEST:  # a preflight is none
        holder = bucket(request[CLIENT]) if CLIENT in request else holder_of(request.remote or "")
        if holder and (seconds := refusals.delay(holder, time.monotonic())):
            await cast("Connection", request.protocol).hold(seconds)


def _authorization(request: web.Request) -> str | None:
    """Two headers are joined into one (RFC 9110 §5.3), which is never a valid key, unless both kinds hold the same."""
    given = {
        start + ", ".join(values): None for name, start in _KEY_HEADERS if (values := request.headers.getall(name, ()))
    }
    return ", ".join(given) if given else None


def _take(request: web.Request, decision: Decision, limiter: RateLimiter) -> None:
    request[_LIMIT] = limiter.headers(decision)
    if not decision.allowed:
        metrics.REFUSED.labels("rate_limit").inc()
        raise AppError(Code.RATE_LIMITED, "Too many requests", retry_after=decision.retry_after)
