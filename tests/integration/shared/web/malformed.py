"""Requests that are malformed or could be taken for several, by the status and code that each is refused with."""

HOST = b"Host: test\r\n"
SECOND = b"GET /echo?smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
_END = b"0\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_LENGTH = b"Content-Length: "


def get(head: bytes = HOST, target: bytes = b"/echo") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + head + b"\r\n"


def post(head: bytes, body: bytes = b"") -> bytes:
    return b"POST /echo HTTP/1.1\r\n" + HOST + head + b"\r\n" + body


def chunked(body: bytes, coding: bytes = _CHUNKED) -> bytes:
    return post(coding, body)


_NO_HTTP = (
    b"\x01\x02\x03\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,  # the hello of TLS
    b"GET /echo HTTP/1.1\nHost: test\n\n",
    b"GET /echo HTTP/1.1\r\nHost: test\r\n\n",
)
_REQUEST_LINES = (
    *(b"FOO /echo HTTP/1.1", b"get /echo HTTP/1.1", b"GET /echo HTTQ/1.1", b"GET /echo http/1.1"),
    *(b"GET /echo HTTP/1.1 ", b"GET\t/echo HTTP/1.1"),
)
_TARGETS = (
    *(b"/echo more", b"/echo\0", b"/\xc3\xbc", b"echo", b"*"),
    *(b"http://other/echo", b"http://user@test/echo", b"http://test:80/echo", b"ftp://test/echo"),
    *(b"//echo", b"/echo/../echo", b"/./echo", b"/a%2fb", b"/%2E%2e", b"/a\\b", b"/a%5cb", b"/%00"),
)
_HEADS = (
    *(b"", b"Host:\r\n", HOST + HOST, b"Host: test, other\r\n", b"Host: user@test\r\n", b" " + HOST),
    *(b"Host: test\r\nX: y\n", b"Host: test\nX: y\r\n", b"Host: test\rX: y\r\n"),
)
_FIELDS = (
    *(b"X: a\0b", b"X: a\x01b", b"X\0: a", b"X y: a", b"X\xff: a", b"X : a", b"X", b": a", b"X: a\r\n b"),
    b"Expect: the best",
)
_CODINGS = (
    *(b"", b" xchunked", b" identity", b" gzip, chunked", b" chunked, identity", b" chunked, chunked"),
    *(b' "chunked"', b" \x0bchunked", b"\r\n chunked", b" chunked,", b" chunked;a=b", b" chun\xc2\xadked"),
    *(b" chunked\r\nTransfer-Encoding: x", b" x\r\nTransfer-Encoding: chunked"),
)
_LENGTHS = (
    *(b"+5", b"-5", b"005", b"0 5", b"5, 5", b"5;5", b"0x5", b"", b"1_0", b"5.0", b"\xef\xbc\x95", b"9" * 30),
    *(b"0\r\nContent-Length: 45", b"0\r\nContent-Length: 0"),
)
_BOTH = (
    post(_LENGTH + b"6\r\n" + _CHUNKED, _END),
    post(_CHUNKED + _LENGTH + b"4\r\n", b"2d\r\n"),
    post(b"Transfer-Encoding:\r\n" + _LENGTH + b"5\r\n", _END),
    post(b"Transfer-Encoding: identity\r\n" + _LENGTH + b"5\r\n", _END),
)
_CHUNKS = (
    *(b"xyz\r\nabc\r\n" + _END, b"0x3\r\nabc\r\n" + _END, b"+3\r\nabc\r\n" + _END, b"3 \r\nabc\r\n" + _END),
    *(b"3\nabc\n0\n\n", b"3;a\nabc\r\n" + _END, b"3\r\nabcdef\r\n" + _END, b"3\r\nabc" + _END),
    *(b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n", b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
)
REFUSED: dict[tuple[int, str], tuple[bytes, ...]] = {
    (400, "validation_error"): (
        *_NO_HTTP,
        *(line + b"\r\n" + HOST + b"\r\n" for line in _REQUEST_LINES),
        *(get(target=target) for target in _TARGETS),
        *map(get, _HEADS),
        *(get(HOST + field + b"\r\n") for field in _FIELDS),
        *(chunked(_END, b"Transfer-Encoding:" + coding + b"\r\n") for coding in _CODINGS),
        chunked(_END, b"Transfer-Encoding : chunked\r\n"),
        b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + _END,
        *(post(_LENGTH + length + b"\r\n", b"abcde") for length in _LENGTHS),
        *_BOTH,
        *map(chunked, _CHUNKS),
    ),
    (405, "method_not_allowed"): (
        b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n",
        *(line + b" HTTP/1.1\r\n" + HOST + b"\r\n" for line in (b"CONNECT /echo", b"TRACE /echo", b"OPTIONS *")),
    ),
    (413, "payload_too_large"): tuple(post(_LENGTH + size + b"\r\n") for size in (b"65537", b"18446744073709551615")),
    (414, "uri_too_long"): (get(target=b"/" + b"a" * 8_192),),
    (415, "unsupported_media_type"): (post(b"Content-Length: 3\r\nContent-Encoding: br\r\n", b"abc"),),
    (431, "headers_too_large"): (
        get(HOST + b"X: " + b"a" * 8_300 + b"\r\n"),
        get(HOST + b"a" * 8_191 + b": x\r\n"),
        get(HOST + b"X: a\r\n" * 100),
    ),
    (505, "http_version_not_supported"): (
        b"GET /echo\r\n\r\n",
        *(b"GET /echo HTTP/" + version + b"\r\n" + HOST + b"\r\n" for version in (b"0.9", b"1.2", b"2.0")),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
}
CASES = [(request, *refusal) for refusal, requests in REFUSED.items() for request in requests]
