"""One JSON request with a time limit, which is all that the stack needs of HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


async def call(method: str, url: str, body: Mapping[str, object] | None = None, *, limit: float = 5.0) -> Answer:
    """OSError if there is no answer within `limit` seconds, or none that is JSON."""
    try:
        async with aiohttp.request(method, url, json=body, timeout=aiohttp.ClientTimeout(total=limit)) as response:
            return Answer(response.status, await response.json())
    except TimeoutError:
        raise OSError(f"{method} {url}: no answer within {limit:g} s") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise OSError(f"{method} {url}: {error}") from error
