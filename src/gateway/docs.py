"""`/openapi.json`, and `/docs`: Swagger UI from the files of the package offapi, without any other host."""

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import orjson
from aiohttp import web
from aiohttp.helpers import ETAG_ANY

from gateway.openapi.document import document
from gateway.routes import Route
from shared.errors import AppError, Code

_PACKAGE = "offapi"
_OWN = Path(__file__).parent
# The page loads nothing from elsewhere, and runs no script or style but its assets. Icons in the style sheet of
# Swagger UI are data: URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",  # a client asks each time, and gets 304 if it has the content
    }
)
# The types are named here, because those that Python guesses depend on the machine.
_TYPES = MappingProxyType({".css": "text/css", ".html": "text/html", ".js": "text/javascript"})


class Docs:
    """The document, made once, and the files of the page."""

    def __init__(self, routes: Sequence[Route]) -> None:
        package = _package_folder()
        self.openapi = orjson.dumps(document(routes))
        self.etag = hashlib.sha256(self.openapi).hexdigest()[:32]
        self.assets = MappingProxyType(
            {
                "style.css": package / "swagger_style.css",
                "bundle.js": package / "swagger_bundle.js",
                "start.js": _OWN / "docs.js",
            }
        )


DOCS = web.AppKey("docs", Docs)


async def get_openapi(request: web.Request) -> web.Response:
    """304 for a client that has the document (RFC 9110 §13.1.2)."""
    docs = request.app[DOCS]
    if any(tag.value in (docs.etag, ETAG_ANY) for tag in request.if_none_match or ()):
        # A cache replaces the headers that it stored by these (RFC 9111 §3.2).
        response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=_HEADERS)
    else:
        response = web.Response(body=docs.openapi, content_type="application/json", headers=_HEADERS)
    response.etag = docs.etag
    return response


async def get_page(_request: web.Request) -> web.FileResponse:
    return _file(_OWN / "docs.html")


async def get_asset(request: web.Request) -> web.FileResponse:
    """Only the page's assets: no path is made from the name."""
    asset = request.app[DOCS].assets.get(request.match_info["name"])
    if asset is None:
        raise AppError(Code.NOT_FOUND, "No such path")
    return _file(asset)


ROUTES = (
    web.get("/openapi.json", get_openapi),
    web.get("/docs", get_page),
    web.get("/docs/assets/{name}", get_asset),
)


def _file(path: Path) -> web.FileResponse:
    return web.FileResponse(path, headers={**_HEADERS, "Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8"})


def _package_folder() -> Path:
    """Found without an import, which would build all of the package's pages, tens of megabytes."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{_PACKAGE} is not installed")
    return Path(spec.origin).parent
