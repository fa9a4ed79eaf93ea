"""Keyset pages, newest first: a cursor names the last row seen, so a page costs the same wherever it is."""

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
    """Where a list answer stands; `next` is the cursor of the next page, None on the last."""

    limit: int
    next: str | None


class Keyed(Protocol):
    @property
    def id(self) -> int: ...


Row = TypeVar("Row", bound=Keyed)


def encode_cursor(last_id: int) -> str:
    """An opaque URL-safe cursor; the check sum tells a made-up one from ours."""
    key = _LAYOUT.pack(_VERSION, last_id, 0)[:-2]
    packed = _LAYOUT.pack(_VERSION, last_id, binascii.crc_hqx(key, 0))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> int:
    """The id that the page starts below. Raises ValueError for anything `encode_cursor` did not make."""
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        _, last_id, _ = _LAYOUT.unpack(packed)
    except (struct.error, ValueError) as error:
        raise ValueError("not a cursor") from error
    if last_id < 1 or encode_cursor(last_id) != cursor:
        raise ValueError("not a cursor")
    return int(last_id)


def page_of(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], Page]:
    """The rows of a page and where it stands, from a query that asked for `limit + 1` rows."""
    shown = rows[:limit]
    return shown, Page(limit, encode_cursor(shown[-1].id) if len(rows) > limit else None)
