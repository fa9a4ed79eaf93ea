"""An HTTP server in the place of a service, with an answer of the test's choice."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from aiohttp import web

from tests.api import serve

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived; `target` is the path with its query, undecoded."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class FakeService:
    """Notes each request, then does what `respond` says."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.respond: Respond = respond_with(200, envelope(200, {}))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(Seen(request.method, request.raw_path, request.headers.copy(), body))
        return await self.respond(request)


@asynccontextmanager
async def fake_service() -> AsyncIterator[FakeService]:
    fake = FakeService()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    async with serve(app, handler_cancellation=True) as url:
        fake.url = url
        yield fake


def respond_with(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Respond:
    async def respond(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})})

    return respond


def envelope(status: int, data: Any, **more: Any) -> bytes:
    """As the services write it, with a time that only a byte-for-byte copy keeps."""
    body = {"statusCode": status, "data": data, **more, "traceId": "a" * 32, "timestamp": "T", "path": "/from/service"}
    return json.dumps(body, separators=(",", ":")).encode()


async def hang(_request: web.Request) -> NoReturn:
    """Until the client has gone."""
    await asyncio.Event().wait()
    raise AssertionError


async def reset(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
