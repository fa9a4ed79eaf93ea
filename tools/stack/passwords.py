"""Random passwords, one set per stack, in a file that only its owner reads."""

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

OWNER_ONLY = 0o600


def load(path: Path, roles: Iterable[str]) -> dict[str, str]:
    """The password of each role; one that the file lacks is made and written down."""
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    passwords = {role: known.get(role) or secrets.token_urlsafe(24) for role in roles}
    if passwords != known:
        write_private(path, json.dumps(passwords, indent=2))
    return passwords


def write_private(path: Path, text: str) -> None:
    """Replaces the file in one step; only its owner can read it at any time."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
