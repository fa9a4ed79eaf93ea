import re

import orjson
import pytest

from gateway.routes import ROUTES
from tests.api import Api
from tests.integration.shared.web.raw import connected
from tools.documents.openapi.document import document

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "


async def test_the_document_is_the_one_of_the_route_table(gateway: Api) -> None:
    answer = await gateway.get("/openapi.json")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.raw == orjson.dumps(document(ROUTES))


@pytest.mark.parametrize(
    ("path", "form"),
    [("/openapi.json", '"[0-9a-f]{32}"'), ("/docs", '"[0-9a-f-]+"'), ("/docs/assets/start.js", '".+"')],
)
async def test_a_client_that_has_the_content_gets_304_any_other_gets_it(gateway: Api, path: str, form: str) -> None:
    first, head, post = [await gateway.request(method, path) for method in ("GET", "HEAD", "POST")]
    tag = first.headers["ETag"]
    conditions = [tag, f'"other", {tag}', f"W/{tag}", "*", '"other"', "no tag"]
    answers = [await gateway.get(path, headers={"If-None-Match": condition}) for condition in conditions]

    assert re.fullmatch(form, tag)
    assert [answer.status for answer in answers] == [304, 304, 304, 304, 200, 200]
    assert {answer.raw for answer in answers} == {b"", first.raw}
    same = ("ETag", "Cache-Control", "Content-Security-Policy", "X-Content-Type-Options")
    shown = {tuple(answer.headers[name] for name in same) for answer in (first, head, *answers)}
    assert len(shown) == 1
    [[_, caching, policy, sniffing]] = shown
    assert (caching, policy.startswith(POLICY), sniffing) == ("no-cache", True, "nosniff")
    assert (head.status, head.raw, head.headers["Content-Length"]) == (200, b"", str(len(first.raw)))
    assert (post.status, post.code, post.headers["Allow"]) == (405, "method_not_allowed", "GET,HEAD")


async def test_the_page_needs_no_other_host_and_runs_nothing_but_its_assets(gateway: Api) -> None:
    page = await gateway.get("/docs")
    text = page.raw.decode()
    names = re.findall(r'(?:href|src)="(docs/[^"]+)"', text)
    assets = {name: await gateway.get(name) for name in names}

    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "//" not in text
    assert not re.search(r"<style|<script>|\bon[a-z]+=|style=", text)
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert len(assets) == 3
    for name, answer in assets.items():
        assert (answer.status, answer.headers["Content-Type"]) == (200, TYPES[name[name.rindex(".") :]])
    assert b"SwaggerUIBundle" in b"".join(answer.raw for answer in assets.values())


async def test_the_root_leads_to_the_page_and_names_the_document(gateway: Api) -> None:
    """RFC 8631."""
    answers = [await gateway.request(method, "/") for method in ("GET", "HEAD")]

    assert [(answer.status, answer.headers["Location"]) for answer in answers] == [(302, "./docs")] * 2
    links = dict(link.split("; ") for link in answers[0].headers["Link"].split(", "))
    assert links == {"<./docs>": 'rel="service-doc"', "<./openapi.json>": 'rel="service-desc"'}
    assert [await gateway.status(link.strip("<>")) for link in links] == [200, 200]


NOT_THERE = ("docs.js", "docs.py", "redoc.js", "__init__.py", "")
NO_PATH = (
    *("%00", "../docs.py", "..%2Fdocs.py", "%2e%2e%2f%2e%2e%2fgateway%2fapp.py", "..%5Cdocs.py", "%2Fetc%2Fpasswd"),
    *("../../../../../../../../etc/passwd", "/etc/passwd"),
)


async def test_nothing_but_the_assets_can_be_reached(port: int) -> None:
    """The paths are sent as they stand: a client library would tidy them up first."""
    found = {}
    for name in (*NOT_THERE, *NO_PATH):
        async with connected(port) as peer:
            peer.send(f"GET /docs/assets/{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            reply = await peer.reply()
            found[name] = (reply.status, reply.code)

    expected = dict.fromkeys(NOT_THERE, (404, "not_found")) | dict.fromkeys(NO_PATH, (400, "validation_error"))
    assert expected == found
