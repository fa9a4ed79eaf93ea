"""The path under which a proxy serves the gateway: the proxy takes it away, and what an answer points at needs it."""

import re
from collections.abc import Sequence

from aiohttp import web

from gateway.access.clients import Network, is_trusted

_HEADER = "X-Forwarded-Prefix"
# Ordinary segments: `//` would name another host, `..` would leave the prefix.
_PREFIX = re.compile(r"(?:/[\w~-][\w.~-]{0,63}){1,8}", re.ASCII)
# Before the path of a `Location` or of each link; a path relative to `/` is given as `./path`.
_START = re.compile(r"(?:^|(?<=<))\.?(?=/)")


async def send_prefix(trusted: Sequence[Network], request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Runs before any answer is sent. A prefix that is not valid, or given twice, is as none."""
    if _HEADER in request.headers and is_trusted(request.remote or "", trusted):
        prefix = ",".join(request.headers.getall(_HEADER)).removesuffix("/")
        for name in ("Location", "Link") if _PREFIX.fullmatch(prefix) else ():
            if values := response.headers.getall(name, ()):
                response.headers[name] = _START.sub(prefix, ", ".join(values))  # RFC 9110 §5.3
