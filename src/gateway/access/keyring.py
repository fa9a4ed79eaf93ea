"""API keys and their scopes. Only SHA-256 digests of the keys are known here."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.scopes import Scope
from shared.errors import AppError, Code

_REALM = 'Bearer realm="shop"'
_LONGEST_KEY = 200
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1
# Names are logged. They are shorter than a key, so that a key given in place of a name is refused.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_FIELDS = 3
_SCOPES_FIELD = 2
_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key is known by its SHA-256; the key itself is not stored."""

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]


class Keyring:
    """The keys that the gateway takes."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = tuple(keys)

    def find(self, authorization: str | None) -> ApiKey | None:
        """The key in an `Authorization` header, None without the header. Raises AppError for any other content."""
        if authorization is None:
            return None
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "bearer":
            # An unsupported scheme is treated like no authentication: no error attribute (RFC 6750 §3.1).
            raise _unauthorized("The Authorization header must be: Bearer, a space, an API key")
        key = self._look_up(credentials.lstrip(" "))
        if key is None:
            raise _unauthorized("The API key is not valid", ', error="invalid_token"')
        return key

    def _look_up(self, secret: str) -> ApiKey | None:
        """Compares every key, so that the time does not show which one matched."""
        if len(secret) > _LONGEST_KEY or not _B64TOKEN.fullmatch(secret):
            return None
        digest = hashlib.sha256(secret.encode()).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def require(key: ApiKey | None, scope: Scope | None) -> None:
    """Raises AppError unless the key has the scope; the scope None is public."""
    if scope is None:
        return
    if key is None:
        raise _unauthorized("This needs an API key")
    if scope not in key.scopes:
        challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
        raise AppError(Code.FORBIDDEN, f"The API key lacks the scope {scope}", headers={"WWW-Authenticate": challenge})


def parse_keys(text: str) -> list[ApiKey]:
    """Reads entries of `name sha256-hex scope,scope`, separated by `;` or a new line.

    While a client exchanges its secret it has two digests, with a comma between them: two keys of one name.
    Raises ValueError with all problems, one a line. They do not repeat the text, because it may contain a key.
    """
    entries = [entry.split() for entry in re.split(r"[;\n]", text) if entry.strip()]
    problems = []
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        problems += [f"entry {number}: {problem}" for problem in _problems(entry) + _repetitions(entry, seen)]
    if problems:
        raise ValueError("\n".join(problems))
    return [
        ApiKey(name, bytes.fromhex(digest), frozenset(map(Scope, scopes.split(","))))
        for name, digests, scopes in entries
        for digest in digests.split(",")
    ]


def check_key(name: str, scopes: Sequence[str]) -> list[str]:
    """The problems of a key's name and scopes."""
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
    name, digests, scopes = entry
    problems = check_key(name, scopes.split(","))
    if not all(map(_DIGEST.fullmatch, digests.split(","))):
        problems.append("the SHA-256 must be 64 hexadecimal digits")
    return problems


def _repetitions(entry: list[str], seen: set[str]) -> list[str]:
    """Adds the name and the digests to `seen`.

    Names that differ only in case would be confused in the logs. A name is never as long as a digest.
    """
    problems = []
    for number, value in enumerate(",".join(entry[:_SCOPES_FIELD]).lower().split(",")):
        if value in seen:
            problems.append(f"the {'SHA-256' if number else 'name'} is given twice")
        seen.add(value)
    return problems


def _unauthorized(message: str, error: str = "") -> AppError:
    return AppError(Code.UNAUTHORIZED, message, headers={"WWW-Authenticate": _REALM + error})
