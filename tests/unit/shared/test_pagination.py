import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.pagination import MAX_ID, decode_cursor, encode_cursor

IDS = st.integers(1, MAX_ID)
ALPHABET = string.ascii_letters + string.digits + "-_"


@given(IDS)
def test_a_cursor_leads_back_to_its_row_and_needs_no_quoting_in_a_url(last_id: int) -> None:
    cursor = encode_cursor(last_id)
    assert decode_cursor(cursor) == last_id
    assert set(cursor) <= set(ALPHABET)


@given(st.text() | st.text(ALPHABET, min_size=15, max_size=15) | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        decode_cursor(cursor)


@given(st.data())
def test_a_cursor_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    cursor = encode_cursor(data.draw(IDS))
    position = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from([character for character in ALPHABET if character != cursor[position]]))
    with pytest.raises(ValueError, match="not a cursor"):
        decode_cursor(cursor[:position] + other + cursor[position + 1 :])


def test_a_cursor_has_one_spelling_and_no_row_lies_below_the_first() -> None:
    cursor = encode_cursor(42)
    spellings = [
        spelling
        for noise in ("=", "\n", " ", "!", "\0")
        for spelling in (cursor + noise, noise + cursor, cursor[:4] + noise + cursor[4:])
    ]
    for wrong in (*spellings, *map(encode_cursor, (0, -1, -(2**63)))):
        with pytest.raises(ValueError, match="not a cursor"):
            decode_cursor(wrong)
