"""`python -m gateway.keys NAME SCOPE...`: makes an API key and its entry for the setting API_KEYS."""

import argparse
import hashlib
import secrets
import sys
from collections.abc import Sequence

from gateway.access.keyring import check_key
from gateway.scopes import Scope

# Secret scanners find keys by such a prefix.
_PREFIX = "shop_"
_RANDOM_BYTES = 32


def main(arguments: Sequence[str]) -> int:
    """Prints the key, which is stored nowhere; exit status 2 with all problems if the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="Make an API key.")
    parser.add_argument("name", metavar="NAME", help="of the key, for the logs")
    parser.add_argument("scopes", metavar="SCOPE", nargs="+", help=", ".join(Scope))
    options = parser.parse_args(arguments)
    problems = check_key(options.name, options.scopes)
    if problems:
        sys.stderr.write("keys: no key was made\n" + "".join(f"  {problem}\n" for problem in problems))
        return 2
    key = make_key()
    sys.stdout.write(
        f"The key, for the client; it will not be shown again:\n  {key}\n"
        f"Its entry for API_KEYS:\n  {entry_of(options.name, key, options.scopes)}\n"
    )
    return 0


def make_key() -> str:
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def entry_of(name: str, key: str, scopes: Sequence[str]) -> str:
    """The digest needs no salt and no stretching, because 256 random bits cannot be guessed."""
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()} {','.join(sorted(set(scopes)))}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
