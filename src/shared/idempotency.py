"""A request that carries an `Idempotency-Key` is done once, and a repeat gets its first answer again.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The transaction that does the request
stores the key for a day, with a hash of the request. A refused request stores nothing and is tried anew.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from shared.errors import AppError, Code


@dataclass(frozen=True, slots=True)
class Key:
    """The client's key for a request, and a hash of that request."""

    value: str
    request_hash: bytes

    def check(self, request_hash: bytes) -> None:
        """Raises AppError IDEMPOTENCY_MISMATCH if the key was used before for a request with another hash."""
        if request_hash != self.request_hash:
            raise AppError(Code.IDEMPOTENCY_MISMATCH)


def key_of(value: str | None, operation: str, content: Mapping[str, Any]) -> Key | None:
    """`content` is the validated request, so the formatting of its JSON makes no difference."""
    if value is None:
        return None
    request = orjson.dumps([operation, content], default=str, option=orjson.OPT_SORT_KEYS)
    return Key(value, hashlib.sha256(request).digest())


class InProgress:
    """The keys that this process works on; the unique key in the database holds back other processes."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    @contextmanager
    def claim(self, key: Key) -> Iterator[None]:
        """Raises AppError CONFLICT while a request with the same key is in progress."""
        if key.value in self._keys:
            raise AppError(Code.CONFLICT, "A request with this Idempotency-Key is in progress", retry_after=1)
        self._keys.add(key.value)
        try:
            yield
        finally:
            self._keys.discard(key.value)
