import asyncio
import re

import orjson
import pytest

from gateway.openapi.document import document
from gateway.routes import ROUTES
from tests.api import Answer, Api
from tests.integration.upstream import FakeService

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def assets(page: Answer) -> list[str]:
    return re.findall(r'(?:href|src)="(/[^"]+)"', page.raw.decode())


async def test_the_document_is_the_one_of_the_route_table(gateway: Api) -> None:
    answer = await gateway.get("/openapi.json")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.raw == orjson.dumps(document(ROUTES))


@pytest.mark.parametrize(
    ("path", "form"),
    [("/openapi.json", '"[0-9a-f]{32}"'), ("/docs", '"[0-9a-f-]+"'), ("/docs/assets/start.js", '".+"')],
)
async def test_a_client_that_has_it_gets_304_and_any_other_gets_it(gateway: Api, path: str, form: str) -> None:
    first = await gateway.get(path)
    tag = first.headers["ETag"]
    conditions = [tag, f'"other", {tag}', f"W/{tag}", "*", '"other"', "no tag"]
    answers = [await gateway.get(path, headers={"If-None-Match": condition}) for condition in conditions]

    assert re.fullmatch(form, tag)
    assert [answer.status for answer in answers] == [304, 304, 304, 304, 200, 200]
    assert {(answer.headers["ETag"], answer.headers["Cache-Control"]) for answer in answers} == {(tag, "no-cache")}
    assert {answer.headers["Content-Security-Policy"] for answer in answers} == {
        first.headers["Content-Security-Policy"]
    }
    assert {answer.raw for answer in answers} == {b"", first.raw}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_a_head_request_is_answered_without_a_body(gateway: Api, path: str) -> None:
    whole, head = await gateway.get(path), await gateway.request("HEAD", path)

    assert (head.status, head.raw) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.raw))
    assert head.headers["ETag"] == whole.headers["ETag"]


async def test_the_page_needs_no_other_host_and_runs_nothing_but_its_assets(gateway: Api) -> None:
    page = await gateway.get("/docs")
    text = page.raw.decode()

    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "//" not in text
    assert not re.search(r"<style|<script>|\bon[a-z]+=|style=", text)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"


async def test_each_asset_that_the_page_names_is_there(gateway: Api) -> None:
    names = assets(await gateway.get("/docs"))
    found = {name: await gateway.get(name) for name in names}

    assert len(found) == 3
    for name, answer in found.items():
        head = await gateway.request("HEAD", name)
        assert (answer.status, answer.headers["Content-Type"]) == (200, TYPES[name[name.rindex(".") :]])
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert head.headers["Content-Length"] == str(len(answer.raw))
        assert (head.status, head.raw) == (200, b"")
    assert b"SwaggerUIBundle" in b"".join(answer.raw for answer in found.values())


NOT_THERE = ("docs.js", "docs.py", "redoc.js", "__init__.py", "")
NO_PATH = (
    *("%00", "../docs.py", "..%2Fdocs.py", "%2e%2e%2f%2e%2e%2fgateway%2fapp.py", "..%5Cdocs.py", "%2Fetc%2Fpasswd"),
    *("../../../../../../../../etc/passwd", "/etc/passwd"),
)


@pytest.mark.parametrize("name", [*NOT_THERE, *NO_PATH])
async def test_nothing_but_the_assets_can_be_reached(gateway_url: str, products: FakeService, name: str) -> None:
    """Sent as it stands: a client library would tidy it up first."""
    host, port = gateway_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /docs/assets/{name} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()

    expected = (b"404", "not_found") if name in NOT_THERE else (b"400", "validation_error")
    assert (head.split()[1], orjson.loads(body)["error"]["code"]) == expected
    assert products.seen == []


async def test_the_page_is_read_only(gateway: Api) -> None:
    answer = await gateway.request("POST", "/docs")

    assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "method_not_allowed", "GET,HEAD")
