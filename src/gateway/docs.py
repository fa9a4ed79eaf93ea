"""`/openapi.json`, and `/docs`: Swagger UI, from the files of the package offapi, so that no other host is needed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import orjson
from aiohttp import ETag, web
from aiohttp.helpers import ETAG_ANY

from gateway.openapi.document import document
from gateway.routes import Route
from shared.errors import AppError, Code

_PACKAGE = "offapi"
_JAVASCRIPT = "text/javascript; charset=utf-8"
_CSS = "text/css; charset=utf-8"
_HTML = "text/html"
_OWN = Path(__file__).with_name("docs.js")
# Nothing is taken from elsewhere, and no script or style runs that is not one of the assets. Icons in Swagger UI's
# style sheet are data: URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = MappingProxyType(
    {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
)
_CHECKED_EACH_TIME = "no-cache"
_FOR_EVER = "public, max-age=31536000, immutable"  # a year; another content has another name
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Product &amp; Order System: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/{style}">
</head>
<body>
<div id="docs"></div>
<script src="/docs/assets/{bundle}"></script>
<script src="/docs/assets/{start}"></script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """Bytes that do not change while the process lives."""

    body: bytes
    content_type: str
    tag: str

    @classmethod
    def of(cls, body: bytes, content_type: str) -> "Ready":
        return cls(body, content_type, hashlib.sha256(body).hexdigest()[:32])

    def answer(self, request: web.Request) -> web.Response:
        """304 for a client that has it (RFC 9110 §13.1.2)."""
        if _has(request.if_none_match, self.tag):
            # A cache replaces the headers that it keeps by these (RFC 9111 §3.2).
            response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=_SAFE)
        else:
            charset = "utf-8" if self.content_type == _HTML else None
            response = web.Response(body=self.body, content_type=self.content_type, charset=charset, headers=_SAFE)
        response.etag = self.tag
        response.headers["Cache-Control"] = _CHECKED_EACH_TIME
        return response


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page; it is sent from where it lies."""

    file: Path
    content_type: str

    @property
    def name(self) -> str:
        """With a hash of the content."""
        return f"{self.file.stem}.{hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]}{self.file.suffix}"


class Docs:
    """Both documents, made once."""

    def __init__(self, routes: Sequence[Route]) -> None:
        folder = _package_folder()
        style = Asset(folder / "swagger_style.css", _CSS)
        bundle = Asset(folder / "swagger_bundle.js", _JAVASCRIPT)
        start = Asset(_OWN, _JAVASCRIPT)
        page = _PAGE.format(style=style.name, bundle=bundle.name, start=start.name)
        self.openapi = Ready.of(orjson.dumps(document(routes)), "application/json")
        self.page = Ready.of(page.encode(), _HTML)
        self.assets = MappingProxyType({asset.name: asset for asset in (style, bundle, start)})


DOCS = web.AppKey("docs", Docs)


async def get_openapi(request: web.Request) -> web.Response:
    return request.app[DOCS].openapi.answer(request)


async def get_page(request: web.Request) -> web.Response:
    return request.app[DOCS].page.answer(request)


async def get_asset(request: web.Request) -> web.FileResponse:
    """Only what the page names; whatever else the name may be, no path is made of it."""
    asset = request.app[DOCS].assets.get(request.match_info["name"])
    if asset is None:
        raise AppError(Code.NOT_FOUND, "No such path")
    headers = {"Content-Type": asset.content_type, "Cache-Control": _FOR_EVER, **_SAFE}
    return web.FileResponse(asset.file, headers=headers)


ROUTES = (
    web.get("/openapi.json", get_openapi),
    web.get("/docs", get_page),
    web.get("/docs/assets/{name}", get_asset),
)


def _has(tags: tuple[ETag, ...] | None, tag: str) -> bool:
    return any(each.value in (tag, ETAG_ANY) for each in tags or ())


def _package_folder() -> Path:
    """Without an import, which would build all of the package's pages, tens of megabytes of them."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{_PACKAGE} is not installed")
    return Path(spec.origin).parent
