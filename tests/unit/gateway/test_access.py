import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.keyring import ApiKey, Keyring, check_key, parse_keys, require
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
B64TOKEN = st.from_regex(r"[A-Za-z0-9._~+/-]{1,190}={0,10}", fullmatch=True)


def refusal(authorization: str) -> AppError:
    with pytest.raises(AppError) as caught:
        KEYRING.find(authorization)
    return caught.value


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
        "",
        " ",
        "unknown",
        SECRET + " ",
        SECRET + "\t",
        SECRET + "\n",
        SECRET + ",",
        "=",
        "a=b",
        "schlüssel",
        "key_\udcff",
    ],
)
def test_a_key_that_is_malformed_or_unknown_is_not_valid(credentials: str) -> None:
    error = refusal(f"Bearer {credentials}")
    assert (error.code, error.headers) == (Code.UNAUTHORIZED, {"WWW-Authenticate": WRONG_KEY})


@pytest.mark.parametrize("authorization", ["", "Basic c2hvcDpzaG9w", SECRET, f"Bearer\t{SECRET}", f"Bearer{SECRET}"])
def test_another_scheme_counts_as_no_key(authorization: str) -> None:
    error = refusal(authorization)
    assert (error.code, error.headers) == (Code.UNAUTHORIZED, {"WWW-Authenticate": NO_KEY})


def test_a_key_has_at_most_200_characters() -> None:
    longest, longer = "a" * 200, "a" * 201
    keyring = Keyring(
        ApiKey(secret, hashlib.sha256(secret.encode()).digest(), frozenset()) for secret in (longest, longer)
    )
    assert keyring.find(f"Bearer {longest}") is not None
    with pytest.raises(AppError):
        keyring.find(f"Bearer {longer}")


@given(B64TOKEN, st.sets(B64TOKEN, max_size=5))
def test_exactly_the_keys_of_the_ring_are_found(secret: str, others: set[str]) -> None:
    keyring = Keyring(ApiKey(each, hashlib.sha256(each.encode()).digest(), frozenset()) for each in others)
    if secret in others:
        found = keyring.find(f"Bearer {secret}")
        assert found is not None
        assert found.name == secret
    else:
        with pytest.raises(AppError):
            keyring.find(f"Bearer {secret}")


@given(st.text())
def test_no_header_breaks_it_or_opens_it(authorization: str) -> None:
    assert refusal(authorization).code is Code.UNAUTHORIZED


def test_what_is_public_needs_no_key() -> None:
    require(None, None)
    require(WAREHOUSE, None)


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_needs_a_key(scope: Scope) -> None:
    with pytest.raises(AppError) as caught:
        require(None, scope)
    assert (caught.value.code, caught.value.headers) == (Code.UNAUTHORIZED, {"WWW-Authenticate": NO_KEY})


@pytest.mark.parametrize("scope", Scope)
def test_a_key_may_what_its_scopes_say(scope: Scope) -> None:
    if scope in CHECKOUT.scopes:
        require(CHECKOUT, scope)
        return
    with pytest.raises(AppError) as caught:
        require(CHECKOUT, scope)
    challenge = f'Bearer realm="shop", error="insufficient_scope", scope="{scope}"'
    assert (caught.value.code, caught.value.headers) == (Code.FORBIDDEN, {"WWW-Authenticate": challenge})


def test_a_key_shows_nothing_of_its_digest() -> None:
    assert repr(WAREHOUSE) == "ApiKey(name='warehouse', scopes=frozenset({<Scope.CATALOG_WRITE: 'catalog:write'>}))"


@pytest.mark.parametrize(
    "text",
    [
        f"checkout {DIGEST} orders:write,orders:read;warehouse {OTHER} catalog:write",
        f"\n  checkout\t{DIGEST.upper()}   orders:read,orders:write\r\n\n;warehouse {OTHER} catalog:write;\n",
    ],
)
def test_entries_stand_between_semicolons_or_on_lines(text: str) -> None:
    assert parse_keys(text) == [CHECKOUT, WAREHOUSE]


def test_nothing_is_no_key() -> None:
    assert parse_keys(" \n ; ") == []


def test_all_problems_are_reported_at_once() -> None:
    text = f"""checkout {DIGEST} orders:write
        checkout {OTHER} orders:read,order:write,
        ; {SECRET}
        -warehouse {DIGEST.upper()} catalog:write
        stock {OTHER[1:]}g ops; last {OTHER[1:]} root extra"""
    expected = [
        f"entry 2: scope 2 must be one of {SCOPES}",
        f"entry 2: scope 3 must be one of {SCOPES}",
        "entry 2: the name is that of an earlier entry",
        "entry 3: must be: a name, a SHA-256 in hex, scopes with commas and no spaces between",
        'entry 4: the name must be 1 to 32 letters, digits, ".", "_" or "-", the first a letter or a digit',
        "entry 4: the SHA-256 is that of an earlier entry",
        "entry 5: the SHA-256 must be 64 hexadecimal digits",
        "entry 6: must be: a name, a SHA-256 in hex, scopes with commas and no spaces between",
    ]
    assert expected == problems(text)


@pytest.mark.parametrize(("name", "other"), [("stock", "Stock"), ("Stock", "stock")])
def test_names_that_differ_in_case_alone_are_one(name: str, other: str) -> None:
    assert problems(f"{name} {DIGEST} ops; {other} {OTHER} ops") == ["entry 2: the name is that of an earlier entry"]


def test_a_name_may_be_that_of_a_scope() -> None:
    assert [key.name for key in parse_keys(f"stock {DIGEST} ops; ops {OTHER} ops")] == ["stock", "ops"]


@given(st.permutations([SECRET + "_" * 30, DIGEST, "key-of-checkout"]))
def test_problems_show_nothing_of_what_was_given(fields: list[str]) -> None:
    found = "\n".join(problems(" ".join(fields)))
    assert not any(field in found for field in fields)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,31}", fullmatch=True),
        st.tuples(st.binary(min_size=32, max_size=32), st.sets(st.sampled_from(Scope), min_size=1)),
        max_size=5,
    )
)
def test_what_was_written_is_what_is_read(entries: dict[str, tuple[bytes, set[Scope]]]) -> None:
    expected = [ApiKey(name, digest, frozenset(scopes)) for name, (digest, scopes) in entries.items()]
    text = ";".join(f"{key.name} {key.digest.hex()} {','.join(key.scopes)}" for key in expected)
    if len({key.digest for key in expected}) == len(expected):
        assert expected == parse_keys(text)


@pytest.mark.parametrize("name", ["a", "A" * 32, "0.b_c-d"])
def test_a_name_is_short_and_plain(name: str) -> None:
    assert check_key(name, ["ops"]) == []


@pytest.mark.parametrize("name", ["", "a" * 33, "_a", "a b", "a;b", "a\n", "ä"])
def test_any_other_name_is_refused(name: str) -> None:
    assert len(check_key(name, ["ops"])) == 1
