import re
from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st

from shared.web.head import problem

HOST = "shop.example:4000"
LIMIT = 64 * 1024
WRONG_PATH, WRONG_HOST, WRONG_LENGTH = ((400, [field]) for field in ("path", "Host", "Content-Length"))


def refused(target: str = "/orders", **headers: str) -> tuple[int, list[str]] | None:
    """Status and refused fields."""
    named = {name.replace("_", "-"): value for name, value in {"Host": HOST, **headers}.items()}
    error = problem("GET", target, (1, 1), named, LIMIT)
    return None if error is None else (error.status, [detail.field for detail in error.details])


PLAIN = (
    *("/", "/orders", "/orders/", "/orders/7/history", "/.well-known/x", "/...", "/a..b", "/a.", "/a%20b", "/?"),
    *("/orders?cursor=//../%2f%00", "/orders?a=/./", f"http://{HOST}/orders", "HTTP://SHOP.example:4000"),
    f"https://{HOST}?limit=1",
)
AMBIGUOUS = (
    *("//", "//orders", "/orders//", "/orders//7", "/..", "/.", "/../orders", "/orders/..", "/orders/./7"),
    *("/..?a", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5C", "/%2e", "/%2E%2e/", "/%00", "/a\\b", "/a#b", "/%", "/%zz"),
    *("/a b", "/\x7f", "/ü", f"http://{HOST}/../orders"),
)
HOSTS = ("a", "a.b:80", "127.0.0.1", "[::1]:4000", "xn--bcher-kva.example", "a_b:", "a:12345")
NO_HOSTS = ("", " ", "a, b", "a b", "a@b", "a/b", "a:b", "a:123456", "::1", "[g]", "ü", "a\x00")
LENGTHS = {
    **dict.fromkeys(("0", "5", str(LIMIT))),
    **dict.fromkeys(("00", "05"), WRONG_LENGTH),
    **dict.fromkeys((str(LIMIT + 1), "18446744073709551615"), (413, [])),
}


def test_a_path_that_an_intermediary_could_read_as_another_is_refused() -> None:
    expected = {**dict.fromkeys(PLAIN), **dict.fromkeys(AMBIGUOUS, WRONG_PATH)}
    assert {target: refused(target) for target in expected} == expected


@given(st.text("/.%25cCfFeE0aZ\\?#ü ", max_size=12).map("/".__add__))
@example("/..")
def test_a_path_that_is_taken_means_the_same_decoded_and_normalized(target: str) -> None:
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


def test_a_host_is_one_name_or_address_with_a_port_or_without() -> None:
    expected = {**dict.fromkeys(HOSTS), **dict.fromkeys(NO_HOSTS, WRONG_HOST)}
    assert {host: refused(Host=host) for host in expected} == expected
    assert problem("GET", "/", (1, 0), {}, LIMIT) is None


def test_a_length_is_a_plain_number_within_the_limit() -> None:
    assert {length: refused(Content_Length=length) for length in LENGTHS} == LENGTHS
