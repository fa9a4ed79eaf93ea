"""The gateway behind a proxy that serves it under a prefix; docs/gateway.md has the configuration of nginx."""

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from yarl import URL

from shared.pagination import encode_cursor
from tests.api import Api, connect
from tests.integration.gateway.behaviour import DONE, ORDER
from tests.integration.gateway.opening import listening, opened
from tests.integration.upstream import FakeService, envelope, respond_with
from tools.stack import ports, programs
from tools.stack.processes import Command, Daemon
from tools.stack.services import ROOT

CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""
ELSEWHERE = ("//evil.example", "https://evil.example", "/..", "/a/../b", "/.", "/a//b", "/a\\b", "/%2e%2e", "/a\t/b")
NO_PATH = ("", "/", "shop", "/a b", "/a?b", "/a#b", "/a<b", "/a;b", "/a,/b", "/\xe4", "/" + "a" * 65, "/a" * 9)


@pytest.fixture
async def shop(products: FakeService, orders: FakeService, tmp_path: Path) -> AsyncIterator[Api]:
    """nginx, which serves a gateway under /shop/."""
    await asyncio.to_thread(programs.install_missing, {"nginx": "nginx"})
    [location] = re.findall("```nginx\n(.+?)```", (ROOT / "docs" / "gateway.md").read_text(), re.DOTALL)
    async with listening(orders, products, TRUSTED_PROXIES="127.0.0.1") as gateway:
        port = ports.choose()
        text = CONFIGURATION.format(port=port, location=location.replace("4000", str(gateway)))
        (tmp_path / "nginx.conf").write_text(text)
        command = (programs.require("nginx"), "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr")
        nginx = Daemon("nginx", tmp_path, tied=True)
        nginx.start(Command(command, {}, tmp_path))
        try:
            await nginx.ready(partial(ports.listens, port), 10.0)
            async with connect(f"http://127.0.0.1:{port}") as api:
                yield api
        finally:
            await nginx.stop()


def at(base: str, reference: str) -> str:
    """Where it is, for who found it there (RFC 3986 §5.2)."""
    return str(URL(base).join(URL(reference, encoded=True)))


@pytest.mark.timeout(programs.INSTALL_SECONDS)
async def test_what_an_answer_points_at_is_there_under_the_prefix(shop: Api, orders: FakeService) -> None:
    """RFC 9110 §10.2.2 for Location, RFC 8288 §3.2 for Link."""
    next_page = f"/orders?cursor={encode_cursor(7)}"
    headers = {"Location": "/orders/7", "Link": f'<{next_page}>; rel="next"'}
    orders.respond = respond_with(201, envelope(201, {}), headers)
    answer = await shop.post("/shop/orders", ORDER)
    link = answer.headers["Link"]
    for reference in (answer.headers["Location"], link[1 : link.index(">")]):
        await shop.get(at("/shop/orders", reference))

    assert [seen.target for seen in orders.seen] == ["/orders", "/orders/7", next_page]


@pytest.mark.timeout(programs.INSTALL_SECONDS)
async def test_the_page_and_the_server_of_its_document_are_there_under_the_prefix(
    shop: Api, orders: FakeService
) -> None:
    """OpenAPI 3.1 §4.8.5: the server's address is relative to that of the document."""
    root = await shop.get("/shop/")
    linked = [at("/shop/", path) for path in re.findall("<(.+?)>", root.headers["Link"])]
    page = at("/shop/", root.headers["Location"])
    assets = [at(page, path) for path in re.findall('"(docs/.+?)"', (await shop.get(page)).raw.decode())]
    [document] = [at(page, path) for path in re.findall('url: "(.+?)"', (await shop.get(assets[-1])).raw.decode())]
    server = at(document, (await shop.get(document)).body["servers"][0]["url"])
    await shop.get(f"{server}orders/1")

    assert linked == [page, document]
    assert [await shop.status(asset) for asset in assets] == [200, 200, 200]
    assert [seen.target for seen in orders.seen] == ["/orders/1"]


@pytest.mark.parametrize("trusted", ["127.0.0.1", "192.0.2.1", ""])
async def test_only_a_trusted_proxy_names_a_prefix_and_only_one_of_ordinary_segments(
    orders: FakeService, trusted: str
) -> None:
    valid = {"/shop": "/shop", "/shop/": "/shop", "/~a/b-c/v1.2_": "/~a/b-c/v1.2_"}
    headers = {value: [("X-Forwarded-Prefix", value)] for value in (*valid, *ELSEWHERE, *NO_PATH)}
    headers["twice"] = headers["/shop"] * 2
    orders.respond = respond_with(200, DONE, {"Location": "/orders/1", "Link": "</orders>, <https://shop.example/a>"})
    async with opened(orders, TRUSTED_PROXIES=trusted) as gateway:
        found = {name: (await gateway.get("/orders/1", headers=each)).headers for name, each in headers.items()}

    shown = {name: valid.get(name, "") if trusted == "127.0.0.1" else "" for name in headers}
    assert {name: (each["Location"], each["Link"]) for name, each in found.items()} == {
        name: (f"{prefix}/orders/1", f"<{prefix}/orders>, <https://shop.example/a>") for name, prefix in shown.items()
    }
