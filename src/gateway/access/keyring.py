"""Who may do what: API keys, of which only SHA-256 digests are known here, and their scopes."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from shared.errors import AppError, Code

_REALM = 'Bearer realm="shop"'
_LONGEST_KEY = 200
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1
# Names are logged: one is shorter than a key, so that a key put in its place is refused.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_FIELDS = 3
_SCOPES_FIELD = 2


class Scope(StrEnum):
    CATALOG_WRITE = "catalog:write"
    ORDERS_WRITE = "orders:write"
    ORDERS_READ = "orders:read"
    OPS = "ops"


_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: its SHA-256, never itself."""

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]


class Keyring:
    """The keys that the gateway takes."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = tuple(keys)

    def find(self, authorization: str | None) -> ApiKey | None:
        """The key of an `Authorization` header, None without one. Raises AppError for one that is not ours."""
        if authorization is None:
            return None
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "bearer":
            # A scheme that is not supported counts as none: no error attribute (RFC 6750 §3.1).
            raise _unauthorized("The Authorization header must be: Bearer, a space, an API key")
        key = self._look_up(credentials.lstrip(" "))
        if key is None:
            raise _unauthorized("The API key is not valid", ', error="invalid_token"')
        return key

    def _look_up(self, secret: str) -> ApiKey | None:
        """Looks at every key, so that the time tells nothing of which one it was."""
        if len(secret) > _LONGEST_KEY or not _B64TOKEN.fullmatch(secret):
            return None
        digest = hashlib.sha256(secret.encode()).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def require(key: ApiKey | None, scope: Scope | None) -> None:
    """Raises AppError unless the key has the scope; None stands for what is public."""
    if scope is None:
        return
    if key is None:
        raise _unauthorized("This needs an API key")
    if scope not in key.scopes:
        challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
        raise AppError(Code.FORBIDDEN, f"The API key lacks the scope {scope}", headers={"WWW-Authenticate": challenge})


def parse_keys(text: str) -> list[ApiKey]:
    """Of `name sha256-hex scope,scope`, entries with `;` or a new line between.

    Raises ValueError with all problems, one a line; they show nothing of what was given, as it may be a key.
    """
    entries = [entry.split() for entry in re.split(r"[;\n]", text) if entry.strip()]
    problems = []
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        problems += [f"entry {number}: {problem}" for problem in _problems(entry) + _repetitions(entry, seen)]
        seen.update(map(str.lower, entry[:_SCOPES_FIELD]))
    if problems:
        raise ValueError("\n".join(problems))
    return [
        ApiKey(name, bytes.fromhex(digest), frozenset(map(Scope, scopes.split(","))))
        for name, digest, scopes in entries
    ]


def check_key(name: str, scopes: Sequence[str]) -> list[str]:
    """What is wrong with a key's name and scopes."""
    problems = []
    if not _NAME.fullmatch(name):
        problems.append('the name must be 1 to 32 letters, digits, ".", "_" or "-", the first a letter or a digit')
    problems += [
        f"scope {number} must be one of {', '.join(Scope)}"
        for number, scope in enumerate(scopes, 1)
        if scope not in _SCOPES
    ]
    return problems


def _problems(entry: list[str]) -> list[str]:
    if len(entry) != _FIELDS:
        return ["must be: a name, a SHA-256 in hex, scopes with commas and no spaces between"]
    name, digest, scopes = entry
    problems = check_key(name, scopes.split(","))
    if not _DIGEST.fullmatch(digest):
        problems.append("the SHA-256 must be 64 hexadecimal digits")
    return problems


def _repetitions(entry: list[str], seen: set[str]) -> list[str]:
    """Names that differ in case alone are one to whoever reads the logs; no name is as long as a digest."""
    return [
        f"the {what} is that of an earlier entry"
        for what, value in zip(("name", "SHA-256"), entry, strict=False)
        if value.lower() in seen
    ]


def _unauthorized(message: str, error: str = "") -> AppError:
    return AppError(Code.UNAUTHORIZED, message, headers={"WWW-Authenticate": _REALM + error})
