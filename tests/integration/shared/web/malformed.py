"""Requests that are none, or could be taken for several."""

HOST = b"Host: test\r\n"
SECOND = b"GET /echo?smuggled HTTP/1.1\r\nHost: test\r\n\r\n"

_END = b"0\r\n\r\n"
_LENGTH = b"Content-Length: "
_CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(head: bytes, target: bytes = b"/echo") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + head + b"\r\n"


def post(head: bytes, body: bytes = b"") -> bytes:
    return b"POST /echo HTTP/1.1\r\n" + HOST + head + b"\r\n" + body


def chunked(body: bytes, coding: bytes = _CHUNKED) -> bytes:
    return post(coding, body)


# By status and code.
REFUSED = {
    (400, "validation_error"): {
        "garbage": b"\x01\x02\x03\r\n\r\n",
        "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        "unknown method": b"FOO /echo HTTP/1.1\r\n" + HOST + b"\r\n",
        "method in small letters": b"get /echo HTTP/1.1\r\n" + HOST + b"\r\n",
        "other protocol": b"GET /echo HTTQ/1.1\r\n" + HOST + b"\r\n",
        "protocol in small letters": b"GET /echo http/1.1\r\n" + HOST + b"\r\n",
        "space after the version": b"GET /echo HTTP/1.1 \r\n" + HOST + b"\r\n",
        "tab for a space": b"GET\t/echo HTTP/1.1\r\n" + HOST + b"\r\n",
        "space in the target": get(HOST, b"/echo more"),
        "NUL in the target": get(HOST, b"/echo\0"),
        "bytes above 127 in the target": get(HOST, b"/\xc3\xbc"),
        "target without a slash": get(HOST, b"echo"),
        "bare LF": b"GET /echo HTTP/1.1\nHost: test\n\n",
        "bare LF after a header": get(b"Host: test\nX: y\r\n"),
        "bare LF at the end": b"GET /echo HTTP/1.1\r\nHost: test\r\n\n",
        "bare CR": get(b"Host: test\rX: y\r\n"),
        "NUL in a value": get(HOST + b"X: a\0b\r\n"),
        "control character in a value": get(HOST + b"X: a\x01b\r\n"),
        "NUL in a name": get(HOST + b"X\0: a\r\n"),
        "space in a name": get(HOST + b"X y: a\r\n"),
        "bytes above 127 in a name": get(HOST + b"X\xff: a\r\n"),
        "space before the colon": get(HOST + b"X : a\r\n"),
        "no colon": get(HOST + b"X\r\n"),
        "no name": get(HOST + b": a\r\n"),
        "folded value": get(HOST + b"X: a\r\n b\r\n"),
        "space before the first header": get(b" " + HOST),
        "no Host": get(b""),
        "empty Host": get(b"Host:\r\n"),
        "two Hosts": get(HOST + HOST),
        "list of Hosts": get(b"Host: test, other\r\n"),
        "Host with user": get(b"Host: user@test\r\n"),
        "absolute target of another host": get(HOST, b"http://other/echo"),
        "absolute target with user": get(HOST, b"http://user@test/echo"),
        "absolute target of another scheme": get(HOST, b"ftp://test/echo"),
        "asterisk for GET": get(HOST, b"*"),
        "unknown expectation": get(HOST + b"Expect: the best\r\n"),
        "CL.TE": post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", _END),
        "TE.CL": post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"2d\r\n"),
        "TE empty with CL": post(b"Transfer-Encoding:\r\nContent-Length: 5\r\n", _END),
        "TE identity with CL": post(b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", _END),
        **{
            f"TE {coding.decode()}": chunked(_END, b"Transfer-Encoding:" + coding + b"\r\n")
            for coding in (
                *(b"", b" xchunked", b" identity", b" gzip, chunked", b" chunked, identity", b" chunked, chunked"),
                *(b' "chunked"', b" \x0bchunked", b"\r\n chunked", b" chunked,", b" chunked;a=b", b" chun\xc2\xadked"),
            )
        },
        "TE with a space before the colon": chunked(_END, b"Transfer-Encoding : chunked\r\n"),
        "TE twice": chunked(_END, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
        "TE twice, the other first": chunked(_END, b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"),
        "TE in HTTP/1.0": b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
        + _END,
        "CL twice": post(_LENGTH + b"0\r\n" + _LENGTH + b"45\r\n"),
        "CL twice the same": post(_LENGTH + b"0\r\n" + _LENGTH + b"0\r\n"),
        **{
            f"CL {length.decode()}": post(_LENGTH + length + b"\r\n", b"abcde")
            for length in (
                *(b"+5", b"-5", b"005", b"0 5", b"5, 5", b"5;5", b"0x5", b"", b"1_0", b"5.0", b"\xef\xbc\x95"),
                b"9" * 30,
            )
        },
        **{
            f"chunk {body!r}": chunked(body)
            for body in (
                *(
                    b"xyz\r\nabc\r\n" + _END,
                    b"0x3\r\nabc\r\n" + _END,
                    b"+3\r\nabc\r\n" + _END,
                    b"3 \r\nabc\r\n" + _END,
                ),
                *(b"3\nabc\n0\n\n", b"3;a\nabc\r\n" + _END, b"3\r\nabcdef\r\n" + _END, b"3\r\nabc" + _END),
                b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
                b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
        },
        **{
            f"path {target.decode()}": get(HOST, target)
            for target in (
                b"//echo",
                b"/echo/../echo",
                b"/./echo",
                b"/a%2fb",
                b"/%2E%2e",
                b"/a\\b",
                b"/a%5cb",
                b"/%00",
            )
        },
    },
    (405, "method_not_allowed"): {
        "CONNECT": b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n",
        "CONNECT with a path": b"CONNECT /echo HTTP/1.1\r\n" + HOST + b"\r\n",
        "TRACE": b"TRACE /echo HTTP/1.1\r\n" + HOST + b"\r\n",
        "OPTIONS *": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    },
    (413, "payload_too_large"): {
        "CL above the limit": post(_LENGTH + b"65537\r\n"),
        "CL of 2^64 - 1": post(_LENGTH + b"18446744073709551615\r\n"),
    },
    (414, "uri_too_long"): {"long target": get(HOST, b"/" + b"a" * 8_192)},
    (415, "unsupported_media_type"): {
        "unknown coding": post(b"Content-Length: 3\r\nContent-Encoding: br\r\n", b"abc")
    },
    (431, "headers_too_large"): {
        "long value": get(HOST + b"X: " + b"a" * 8_300 + b"\r\n"),
        "long name": get(HOST + b"a" * 8_191 + b": x\r\n"),
        "many headers": get(HOST + b"X: a\r\n" * 100),
    },
}
CASES = {name: (data, status, code) for (status, code), cases in REFUSED.items() for name, data in cases.items()}
# With these a connection ends, and the parser already refuses what comes after: not to be sent with more.
VERSIONS = {
    "HTTP/0.9": b"GET /echo\r\n\r\n",
    "HTTP/0.9 by name": b"GET /echo HTTP/0.9\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET /echo HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2": b"GET /echo HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
