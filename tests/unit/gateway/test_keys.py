import re

import pytest

from gateway import keys
from gateway.access.keyring import Keyring, parse_keys
from gateway.scopes import Scope


def test_the_key_is_shown_once_and_its_entry_opens_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["checkout", "orders:write", "orders:read", "orders:write"]) == 0

    shown = capsys.readouterr().out
    (secret,) = re.findall(r"\bshop_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])", shown)
    assert "not be shown again" in shown
    entry = shown.splitlines()[-1]
    assert entry.endswith(" orders:read,orders:write")
    key = Keyring(parse_keys(entry)).find(f"Bearer {secret}")
    assert key is not None
    assert (key.name, key.scopes) == ("checkout", frozenset({Scope.ORDERS_READ, Scope.ORDERS_WRITE}))


def test_all_that_is_wrong_is_named_and_no_key_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["check out", "orders:write", "root", "orders"]) == 2

    expected = [
        "keys: no key was made",
        '  the name must be 1 to 32 letters, digits, ".", "_" or "-", the first a letter or a digit',
        "  scope 2 must be one of catalog:write, orders:write, orders:read, ops",
        "  scope 3 must be one of catalog:write, orders:write, orders:read, ops",
    ]
    shown = capsys.readouterr()
    assert (shown.out, shown.err.splitlines()) == ("", expected)


@pytest.mark.parametrize("arguments", [[], ["checkout"]])
def test_a_key_without_name_or_scope_is_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        keys.main(arguments)
    assert ended.value.code == 2
