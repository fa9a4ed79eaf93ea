"""`make secrets`: draws what docker-compose.production.yml requires, and writes it into .env."""

import re
import secrets
import sys
from pathlib import Path

from gateway.keys import entry_of, make_key
from gateway.scopes import Scope
from tools.stack.errors import StackError
from tools.stack.passwords import write_private
from tools.stack.services import ROOT
from tools.terminal import exit_status, say

FILES = ("docker-compose.yml", "docker-compose.production.yml")
REQUIRED = re.compile(r"\$\{([A-Z_]+):\?\}")
# What each key may do; an operator makes others with `python -m gateway.keys`.
KEYS = {
    "shop": (Scope.ORDERS_READ, Scope.ORDERS_WRITE),
    "office": (Scope.CATALOG_WRITE, Scope.ORDERS_READ, Scope.OPS),
}


def main(path: Path = ROOT / ".env") -> None:
    """Shows the keys, which are stored nowhere. Raises StackError if the file is there: data may need its secrets."""
    if path.exists():
        raise StackError(f"{path} is there already, and data may need its passwords: move it away first")
    keys = {name: make_key() for name in KEYS}
    names = dict.fromkeys(REQUIRED.findall((ROOT / FILES[-1]).read_text()))
    values = {name: secrets.token_urlsafe(32) for name in names}
    values["API_KEYS"] = ";".join(entry_of(name, key, KEYS[name]) for name, key in keys.items())
    # A value in single quotes is taken as it is.
    lines = [f"COMPOSE_FILE={':'.join(FILES)}", *(f"{name}='{value}'" for name, value in values.items())]
    write_private(path, "\n".join([*lines, ""]))
    say(f"{path} has {len(values)} secrets now; keep a copy of it in a safe place.")
    say("The API keys, for the clients; they will not be shown again:")
    for name, key in keys.items():
        say(f"  {name:<8}{key}  {','.join(KEYS[name])}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
