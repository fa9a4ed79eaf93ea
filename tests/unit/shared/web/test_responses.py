import json

import pytest
from aiohttp.test_utils import make_mocked_request

from shared.errors import AppError, Code
from shared.pagination import Page
from shared.web.responses import answer, refusal


def link(path: str, page: Page | None) -> str | None:
    return answer(make_mocked_request("GET", path), [], page=page).headers.get("Link")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/orders", "/orders?cursor=NEXT"),
        ("/orders?limit=2&status=done", "/orders?limit=2&status=done&cursor=NEXT"),
        ("/orders?cursor=THIS&limit=2", "/orders?cursor=NEXT&limit=2"),
        ("/products/7/movements?limit=1", "/products/7/movements?limit=1&cursor=NEXT"),
    ],
)
def test_the_next_page_has_the_address_of_this_one_with_another_cursor(path: str, expected: str) -> None:
    assert link(path, Page(2, "NEXT")) == f'<{expected}>; rel="next"'


@pytest.mark.parametrize("page", [None, Page(2, None)])
def test_what_has_no_next_page_has_no_link(page: Page | None) -> None:
    assert link("/orders?cursor=THIS", page) is None


def test_headers_of_the_caller_stay() -> None:
    request = make_mocked_request("POST", "/orders")
    response = answer(request, {"id": 1}, status=201, headers={"Location": "/orders/1", "ETag": '"1"'})
    assert (response.status, response.headers["Location"], response.headers["ETag"]) == (201, "/orders/1", '"1"')
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["data"] == {"id": 1}


def test_a_refusal_has_the_headers_of_its_error_and_of_the_caller() -> None:
    error = AppError(Code.RATE_LIMITED, "Too many requests", retry_after=7, headers={"RateLimit": '"default";r=0;t=7'})
    response = refusal(make_mocked_request("GET", "/orders"), error, {"Allow": "GET"})
    shown = {name: response.headers.get(name) for name in ("RateLimit", "Allow", "Retry-After")}
    assert (response.status, shown) == (429, {"RateLimit": '"default";r=0;t=7', "Allow": "GET", "Retry-After": "7"})
