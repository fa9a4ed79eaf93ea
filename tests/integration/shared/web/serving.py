"""An application of the shared kind on a port of its own, with limits that a test can wait for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from shared.web import middleware
from shared.web.connection import ServerLimits
from shared.web.server import Connections, application, serving

SHORT = ServerLimits(head=0.2, body=0.2, idle=0.6, write=0.3, linger=0.2, sweep=0.02)


@dataclass(slots=True)
class Site:
    """`seen` has a line for each request that reached a handler, `ended` one for each that a handler is done with."""

    seen: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    connections: Connections | None = None

    async def echo(self, request: web.Request) -> web.Response:
        self.seen.append(f"{request.method} {request.raw_path}")
        return web.Response(body=await request.read())

    async def ignore(self, request: web.Request) -> web.Response:
        """Does not look at the body."""
        self.seen.append(f"{request.method} {request.raw_path}")
        return web.Response(body=b"ignored")

    async def wait(self, request: web.Request) -> web.Response:
        """Reads the body, then waits for `go`."""
        body = await request.read()
        self.seen.append(f"{request.method} {request.raw_path}")
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append(f"wrote {body.decode()}")
        return web.Response(body=body)

    async def flood(self, request: web.Request) -> web.StreamResponse:
        """Until the peer has gone."""
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        finally:
            self.ended.append("flood")


@asynccontextmanager
async def site(limits: ServerLimits = SHORT) -> AsyncIterator[Site]:
    site = Site()
    app = application(middleware.trace, middleware.errors)
    app.router.add_route("*", "/echo", site.echo)
    app.router.add_route("*", "/ignore", site.ignore)
    app.router.add_route("*", "/wait", site.wait)
    app.router.add_get("/flood", site.flood)
    async with serving(app, limits) as connections:
        site.connections = connections
        site.port = await connections.listen("127.0.0.1", 0)
        yield site
