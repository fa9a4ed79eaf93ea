import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import AppError
from shared.web.head import problem

HOST = {"Host": "shop.example:4000"}
LIMIT = 64 * 1024


def refused(
    target: str = "/orders", *, method: str = "GET", version: tuple[int, int] = (1, 1), **headers: str
) -> tuple[int, list[str]] | None:
    """Status and refused fields."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error = problem(method, target, version, {**HOST, **named}, LIMIT)
    return None if error is None else shown(error)


def shown(error: AppError) -> tuple[int, list[str]]:
    return error.status, [detail.field for detail in error.details]


@pytest.mark.parametrize(
    "target",
    [
        *("/", "/orders", "/orders/", "/orders/7/history", "/.well-known/x", "/...", "/a..b", "/a.", "/a%20b", "/?"),
        *(
            "/orders?cursor=//../%2f%00",
            "/orders?a=/./",
            "http://shop.example:4000/orders",
            "HTTP://SHOP.example:4000",
        ),
        "http://shop.example:4000?limit=1",
    ],
)
def test_a_plain_target_is_taken(target: str) -> None:
    assert refused(target) is None


@pytest.mark.parametrize(
    "target",
    [
        *("//", "//orders", "/orders//", "/orders//7", "/..", "/.", "/../orders", "/orders/..", "/orders/./7"),
        *("/..?a", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5C", "/%2e", "/%2E%2e/", "/%00", "/a\\b", "/a#b", "/%", "/%zz"),
        *("/a b", "/\x7f", "/ü", "http://shop.example:4000/../orders"),
    ],
)
def test_a_path_that_others_could_read_as_another_is_refused(target: str) -> None:
    assert refused(target) == (400, ["path"])


@given(st.text("/.%25cCfFeE0aZ\\?#ü ", max_size=12).map("/".__add__))
@example("/..")
def test_a_path_that_is_taken_means_the_same_decoded_and_tidied_up(target: str) -> None:
    if refused(target) is not None:
        return
    path = target.partition("?")[0]
    segments = path.split("/")[1:]
    decoded = unquote_to_bytes(path)
    assert not {".", ".."} & set(segments)
    assert "" not in segments[:-1]
    assert decoded.count(b"/") == path.count("/")
    assert decoded.count(b".") == path.count(".")
    assert not re.search(rb"[\\\0]", decoded)


@pytest.mark.parametrize("target", ["http://other/x", "http://shop.example/x", "ftp://shop.example:4000/x", "orders"])
def test_an_absolute_target_names_the_host_again(target: str) -> None:
    assert refused(target) == (400, ["Host"])


@pytest.mark.parametrize("host", ["a", "a.b:80", "127.0.0.1", "[::1]:4000", "xn--bcher-kva.example", "a_b:"])
def test_a_host_is_taken(host: str) -> None:
    assert refused(Host=host) is None


@pytest.mark.parametrize("host", ["", " ", "a, b", "a b", "a@b", "a/b", "a:b", "a:123456", "::1", "[g]", "ü", "a\x00"])
def test_what_is_no_host_is_refused(host: str) -> None:
    assert refused(Host=host) == (400, ["Host"])


def test_http_1_0_needs_no_host() -> None:
    assert problem("GET", "/", (1, 0), {}, LIMIT) is None


@pytest.mark.parametrize("version", [(0, 9), (1, 2), (2, 0), (3, 0)])
def test_another_version_is_refused(version: tuple[int, int]) -> None:
    assert refused(version=version) == (505, [])


@pytest.mark.parametrize(("method", "target"), [("CONNECT", "a:80"), ("TRACE", "/orders"), ("OPTIONS", "*")])
def test_what_is_not_about_a_resource_is_refused(method: str, target: str) -> None:
    assert refused(target, method=method) == (405, [])


@pytest.mark.parametrize("coding", ["chunked", "CHUNKED", "Chunked"])
def test_a_chunked_body_is_taken(coding: str) -> None:
    assert refused(Transfer_Encoding=coding) is None


@pytest.mark.parametrize("coding", ["", "gzip, chunked", "identity", "chunked, chunked", "chunked;a", "x"])
def test_any_other_coding_is_refused(coding: str) -> None:
    assert refused(Transfer_Encoding=coding) == (400, ["Transfer-Encoding"])


def test_http_1_0_has_no_coding() -> None:
    assert refused(Transfer_Encoding="chunked", version=(1, 0)) == (400, ["Transfer-Encoding"])


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        *(("0", None), ("5", None), (str(LIMIT), None), ("00", (400, ["Content-Length"]))),
        *(("05", (400, ["Content-Length"])), (str(LIMIT + 1), (413, [])), ("18446744073709551615", (413, []))),
    ],
)
def test_a_length_is_a_plain_number_within_the_limit(length: str, expected: object) -> None:
    assert refused(Content_Length=length) == expected
