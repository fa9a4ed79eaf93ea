"""A client of the HTTP API that shows tests the whole answer."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

_LIMIT = aiohttp.ClientTimeout(total=30)


@dataclass(frozen=True, slots=True)
class Answer:
    """`raw` are the bytes of the body."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def data(self) -> Any:
        return self.body["data"]

    @property
    def refusal(self) -> tuple[int, str | None, list[str]]:
        """Status, code and refused fields."""
        return self.status, self.code, self.fields

    @property
    def code(self) -> str | None:
        """The error's, None for an answer that is none."""
        return str(self._error["code"]) if self._error else None

    @property
    def fields(self) -> list[str]:
        """The fields that were refused."""
        return sorted(detail["field"] for detail in self._error.get("details", ()))

    @property
    def is_envelope(self) -> bool:
        """Whether it is a whole refusal of its status."""
        body = self.body
        return body["statusCode"] == self.status and body["data"] is None and len(body["traceId"]) == 32

    @property
    def _error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.body.get("error", {})
        return error


class Api:
    """Requests to one base URL."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def status(self, path: str) -> int:
        return (await self.get(path)).status

    async def data(self, path: str) -> Any:
        return (await self.get(path)).data

    async def post(self, path: str, content: Any, **options: Any) -> Answer:
        """`content` goes as JSON."""
        return await self.request("POST", path, json=content, **options)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """`options` are those of aiohttp."""
        async with self._session.request(method, path, allow_redirects=False, **options) as response:
            return Answer(response.status, response.headers, await response.read())


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(url, timeout=_LIMIT, connector=aiohttp.TCPConnector(limit=256)) as session:
        yield Api(session)


@asynccontextmanager
async def serve(app: web.Application, *, port: int = 0, handler_cancellation: bool = False) -> AsyncIterator[str]:
    """The application on this port of loopback, or a free one; its base URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0, handler_cancellation=handler_cancellation)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
