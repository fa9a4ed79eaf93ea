import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.keyring import ApiKey, Keyring, check_key, parse_keys
from gateway.scopes import Scope
from shared.errors import AppError, Code

SECRET = "shop_checkout"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()
OTHER = hashlib.sha256(b"shop_warehouse").hexdigest()
CHECKOUT = ApiKey("checkout", bytes.fromhex(DIGEST), frozenset({Scope.ORDERS_WRITE, Scope.ORDERS_READ}))
WAREHOUSE = ApiKey("warehouse", bytes.fromhex(OTHER), frozenset({Scope.CATALOG_WRITE}))
KEYRING = Keyring([CHECKOUT, WAREHOUSE])

NO_KEY = 'Bearer realm="shop"'
WRONG_KEY = 'Bearer realm="shop", error="invalid_token"'
SCOPES = "catalog:write, orders:write, orders:read, ops"
FORM = "must be: a name, a SHA-256 in hex, scopes with commas and no spaces between"


def refusal(authorization: str, keyring: Keyring = KEYRING) -> tuple[Code, dict[str, str]]:
    with pytest.raises(AppError) as caught:
        keyring.find(authorization)
    return caught.value.code, dict(caught.value.headers)


def problems(text: str) -> list[str]:
    with pytest.raises(ValueError, match="entry") as caught:
        parse_keys(text)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_a_key_is_found_by_its_secret_whatever_the_case_of_the_scheme(scheme: str) -> None:
    assert KEYRING.find(scheme + SECRET) is CHECKOUT
    assert KEYRING.find(scheme + "shop_warehouse") is WAREHOUSE


def test_a_request_without_the_header_has_no_key() -> None:
    assert KEYRING.find(None) is None


@pytest.mark.parametrize(
    "credentials",
    [
        *("", " ", "unknown", SECRET[:-1], SECRET.upper(), f"{SECRET}=", f'"{SECRET}"', f"{SECRET} {SECRET}"),
        *(f"{SECRET} ", f"{SECRET}\t", f"{SECRET}\n", f"{SECRET},", f"{SECRET}, Bearer {SECRET}"),
        *("=", "a=b", "schlüssel", "key_\udcff"),
    ],
)
def test_a_key_that_is_malformed_or_unknown_is_not_valid(credentials: str) -> None:
    assert refusal(f"Bearer {credentials}") == (Code.UNAUTHORIZED, {"WWW-Authenticate": WRONG_KEY})


@pytest.mark.parametrize(
    "authorization", ["", "Basic c2hvcDpzaG9w", SECRET, f"Bearer\t{SECRET}", f"Bearer{SECRET}", f"Token {SECRET}"]
)
def test_another_scheme_counts_as_no_key(authorization: str) -> None:
    assert refusal(authorization) == (Code.UNAUTHORIZED, {"WWW-Authenticate": NO_KEY})


def test_a_key_has_at_most_200_characters_of_a_token() -> None:
    secrets = longest, longer, token, spaced = "a" * 200, "a" * 201, "aZ9._~+/-==", "a b"
    keyring = Keyring(ApiKey(each, hashlib.sha256(each.encode()).digest(), frozenset()) for each in secrets)
    assert [keyring.find(f"Bearer {secret}") is not None for secret in (longest, token)] == [True, True]
    for secret in (longer, spaced):
        assert refusal(f"Bearer {secret}", keyring) == (Code.UNAUTHORIZED, {"WWW-Authenticate": WRONG_KEY})


@given(st.text())
def test_no_header_breaks_the_keyring_or_opens_it(authorization: str) -> None:
    assert refusal(authorization)[0] is Code.UNAUTHORIZED


def test_a_key_shows_nothing_of_its_digest() -> None:
    assert repr(WAREHOUSE) == "ApiKey(name='warehouse', scopes=frozenset({<Scope.CATALOG_WRITE: 'catalog:write'>}))"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"checkout {DIGEST} orders:write,orders:read;warehouse {OTHER} catalog:write", [CHECKOUT, WAREHOUSE]),
        (f"\n  checkout\t{DIGEST.upper()}   orders:read,orders:write\r\n\n;warehouse {OTHER} catalog:write;\n", None),
        (" \n ; ", []),
    ],
)
def test_entries_stand_between_semicolons_or_on_lines(text: str, expected: list[ApiKey] | None) -> None:
    assert parse_keys(text) == ([CHECKOUT, WAREHOUSE] if expected is None else expected)


def test_all_problems_are_reported_at_once() -> None:
    text = f"""checkout {DIGEST} orders:write
        checkout {OTHER} orders:read,order:write,
        ; {SECRET}
        -warehouse {DIGEST.upper()} catalog:write
        stock {OTHER[1:]}g ops; last {OTHER[1:]} root extra"""
    expected = [
        f"entry 2: scope 2 must be one of {SCOPES}",
        f"entry 2: scope 3 must be one of {SCOPES}",
        "entry 2: the name is given twice",
        f"entry 3: {FORM}",
        'entry 4: the name must be 1 to 32 letters, digits, ".", "_" or "-", the first a letter or a digit',
        "entry 4: the SHA-256 is given twice",
        "entry 5: the SHA-256 must be 64 hexadecimal digits",
        f"entry 6: {FORM}",
    ]
    assert expected == problems(text)


@pytest.mark.parametrize(("name", "other"), [("stock", "Stock"), ("Stock", "stock")])
def test_names_that_differ_in_case_alone_are_one(name: str, other: str) -> None:
    assert problems(f"{name} {DIGEST} ops; {other} {OTHER} ops") == ["entry 2: the name is given twice"]


def test_a_client_that_exchanges_its_secret_has_two_under_one_name() -> None:
    old, new = keys = parse_keys(f"checkout {DIGEST},{OTHER.upper()} orders:write,orders:read")
    assert old == CHECKOUT
    assert new == ApiKey("checkout", bytes.fromhex(OTHER), CHECKOUT.scopes)
    assert [Keyring(keys).find(f"Bearer {secret}") for secret in (SECRET, "shop_warehouse")] == [old, new]


@pytest.mark.parametrize(
    ("digests", "expected"),
    [
        (f"{DIGEST},{DIGEST.upper()}", "the SHA-256 is given twice"),
        *(
            (digests, "the SHA-256 must be 64 hexadecimal digits")
            for digests in (f"{DIGEST},", f",{DIGEST}", f"{DIGEST},x")
        ),
    ],
)
def test_the_secrets_of_one_name_are_different(digests: str, expected: str) -> None:
    assert problems(f"checkout {digests} ops") == [f"entry 1: {expected}"]
    assert problems(f"other {OTHER} ops; checkout {DIGEST},{OTHER} ops") == ["entry 2: the SHA-256 is given twice"]


def test_a_name_may_be_that_of_a_scope() -> None:
    assert [key.name for key in parse_keys(f"stock {DIGEST} ops; ops {OTHER} ops")] == ["stock", "ops"]


@settings(max_examples=6)
@given(st.permutations([SECRET + "_" * 30, DIGEST, "key-of-checkout"]))
def test_problems_show_nothing_of_what_was_given(fields: list[str]) -> None:
    found = "\n".join(problems(" ".join(fields)))
    assert not any(field in found for field in fields)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, 0) for name in ("a", "A" * 32, "0.b_c-d")),
        *((name, 1) for name in ("", "a" * 33, "_a", "a b", "a;b", "a\n", "ä")),
    ],
)
def test_a_name_is_short_and_plain(name: str, expected: int) -> None:
    assert expected == len(check_key(name, ["ops"]))
