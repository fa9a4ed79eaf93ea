"""One JSON request with a time limit, which is all that the stack needs of HTTP."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from tools.stack.errors import StackError


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


async def call(
    method: str,
    url: str,
    body: Mapping[str, object] | None = None,
    *,
    limit: float = 5.0,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """OSError if there is no answer within `limit` seconds, or none that is JSON."""
    timeout = aiohttp.ClientTimeout(total=limit)
    try:
        async with aiohttp.request(method, url, json=body, timeout=timeout, headers=headers) as response:
            return Answer(response.status, await response.json())
    except TimeoutError:
        raise OSError(f"{method} {url}: no answer within {limit:g} s") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise OSError(f"{method} {url}: {error}") from error


async def ask(
    expected: HTTPStatus, method: str, url: str, body: Mapping[str, object] | None = None, *, limit: float = 5.0
) -> Any:
    """The body of an answer with that status. Raises StackError for any other, and without one."""
    try:
        answer = await call(method, url, body, limit=limit)
    except OSError as error:
        raise StackError(str(error)) from None
    if answer.status != expected:
        raise StackError(f"{method} {url} answered {answer.status}: {json.dumps(answer.body)}")
    return answer.body
