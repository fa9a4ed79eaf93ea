"""What a peer may take of a process."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and numbers past which a peer is not served."""

    head: float = 10.0
    body: float = 10.0
    # Longer than any client of ours keeps an idle connection (shared.web.client).
    idle: float = 75.0
    write: float = 30.0
    linger: float = 2.0
    sweep: float = 1.0
    connections: int = 2_000
    head_bytes: int = 32 * 1024
    # Not the same, because the parser tells by the number alone which of the two was exceeded.
    line_bytes: int = 8_192
    field_bytes: int = 8_190
    fields: int = 100
