"""Keyset pages, newest first: a cursor holds the id of the last row seen, so every page costs the same."""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

_LAYOUT = struct.Struct(">BqH")
_VERSION = 1
MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page:
    """The position of a page in its list; `next` is the cursor of the next page, None on the last."""

    limit: int
    next: str | None


class HasId(Protocol):
    @property
    def id(self) -> int: ...


Row = TypeVar("Row", bound=HasId)


def encode_cursor(last_id: int) -> str:
    """An opaque URL-safe cursor; its check sum exposes an invented one."""
    key = _LAYOUT.pack(_VERSION, last_id, 0)[:-2]
    packed = _LAYOUT.pack(_VERSION, last_id, binascii.crc_hqx(key, 0))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> int:
    """The id below which the page starts. Raises ValueError for a cursor that `encode_cursor` did not make."""
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        _, last_id, _ = _LAYOUT.unpack(packed)
    except (struct.error, ValueError) as error:
        raise ValueError("not a cursor") from error
    if last_id < 1 or encode_cursor(last_id) != cursor:
        raise ValueError("not a cursor")
    return int(last_id)


def page_of(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], Page]:
    """The rows of a page and its position, from a query that asked for `limit + 1` rows."""
    shown = rows[:limit]
    return shown, Page(limit, encode_cursor(shown[-1].id) if len(rows) > limit else None)
