"""`/openapi.json`, and `/docs`: Swagger UI from the files of the package offapi, without any other host."""

import hashlib
from http import HTTPStatus
from importlib.metadata import distribution
from pathlib import Path
from types import MappingProxyType

import orjson
from aiohttp import web

from shared.errors import AppError, Code
from shared.web.headers import read_if_none_match

_OWN = Path(__file__).parent
_OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.json"
# Found without an import, which would build all of the package's pages, tens of megabytes.
_OFFAPI = Path(str(distribution("offapi").locate_file("offapi")))
_ASSETS = MappingProxyType(
    {
        "style.css": _OFFAPI / "swagger_style.css",
        "bundle.js": _OFFAPI / "swagger_bundle.js",
        "start.js": _OWN / "docs.js",
    }
)
_HEADERS = MappingProxyType(
    {
        # The page loads nothing from elsewhere, and runs no script or style but its assets. Icons in the style sheet
        # of Swagger UI are data: URLs.
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",  # a client asks each time, and gets 304 if it has the content
    }
)
# The types are named here, because those that Python guesses depend on its version.
_TYPES = MappingProxyType({".css": "text/css", ".html": "text/html", ".js": "text/javascript"})


class Docs:
    """The document, which `make contracts` has written, without the spaces that are for people."""

    def __init__(self) -> None:
        self.openapi = orjson.dumps(orjson.loads(_OPENAPI.read_bytes()))
        self.etag = hashlib.sha256(self.openapi).hexdigest()[:32]


DOCS = web.AppKey("docs", Docs)


async def get_openapi(request: web.Request) -> web.Response:
    """304 for a client that has the document (RFC 9110 §13.1.2)."""
    docs = request.app[DOCS]
    if read_if_none_match(request) & {docs.etag, "*"}:
        # A cache replaces the headers that it stored by these (RFC 9111 §3.2).
        response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=_HEADERS)
    else:
        response = web.Response(body=docs.openapi, content_type="application/json", headers=_HEADERS)
    response.etag = docs.etag
    return response


async def get_root(_request: web.Request) -> web.Response:
    """Leads people to the page and programs to the document (RFC 8631), wherever a proxy shows them."""
    link = '<./docs>; rel="service-doc", <./openapi.json>; rel="service-desc"'
    return web.Response(status=HTTPStatus.FOUND, headers={"Location": "./docs", "Link": link})


async def get_page(_request: web.Request) -> web.FileResponse:
    return _file(_OWN / "docs.html")


async def get_asset(request: web.Request) -> web.FileResponse:
    """Only the page's assets: no path is made from the name."""
    asset = _ASSETS.get(request.match_info["name"])
    if asset is None:
        raise AppError(Code.NOT_FOUND, "No such path")
    return _file(asset)


ROUTES = (
    web.get("/", get_root),
    web.get("/openapi.json", get_openapi),
    web.get("/docs", get_page),
    web.get("/docs/assets/{name}", get_asset),
)


def _file(path: Path) -> web.FileResponse:
    return web.FileResponse(path, headers={**_HEADERS, "Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8"})
