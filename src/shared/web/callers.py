"""The secret by which services know each other, so that nobody passes the gateway by."""

import hmac
from collections.abc import Mapping, Sequence

import structlog
from aiohttp import web
from multidict import istr

from shared.errors import AppError, Code

log = structlog.get_logger()

HEADER = istr("X-Service-Secret")
_CHALLENGE = {"WWW-Authenticate": 'Service-Secret realm="shop"'}


def headers(secrets: Sequence[str]) -> Mapping[str, str]:
    """What a call to a service carries: the first secret, if there is one."""
    return {HEADER: secrets[0]} if secrets else {}


class Callers:
    """Those that a service answers: who sends one of its secrets, or everybody if it has none."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(map(str.encode, secrets))
        if not secrets:
            log.warning("SERVICE_SECRET is not set: who reaches this port may do everything, without a key")

    def check(self, request: web.Request) -> None:
        """Raises AppError UNAUTHORIZED. Each secret is compared, so that the time does not show which one matched."""
        if self._secrets:
            sent = request.headers.get(HEADER, "").encode(errors="surrogateescape")
            if not sum(hmac.compare_digest(sent, secret) for secret in self._secrets):
                raise AppError(Code.UNAUTHORIZED, "Only the gateway and the services may ask here", headers=_CHALLENGE)
