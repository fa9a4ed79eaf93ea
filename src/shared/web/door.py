"""A way to answer a request before anything is made of it, for those who refuse thousands a second."""

from typing import Protocol

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage


class Door(Protocol):
    """Asked of requests that are complete and alone, and that leave their connection open."""

    def __call__(self, message: RawRequestMessage, /) -> bytes | None:
        """The whole answer, with its access line written; None to let the request in."""


DOOR: web.AppKey[Door] = web.AppKey("door")
