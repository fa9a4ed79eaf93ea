"""A request that carries an `Idempotency-Key` is done once, and a repeat gets its first answer again.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The transaction that does the request
stores the key for a day, with a hash of the request; a repeat that comes meanwhile waits for it at the unique index.
A refused request stores nothing and is tried anew.
"""

import hashlib
from collections.abc import Mapping
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
