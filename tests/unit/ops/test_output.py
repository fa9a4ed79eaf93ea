import orjson

from ops.output import Answer, printable, table


def test_columns_line_up_and_a_long_cell_is_cut() -> None:
    assert table(("ID", "ERROR"), [(1, None), (200, "x")]) == "ID   ERROR\n1    -\n200  x"
    cells = table(("ERROR",), [("x" * 80,), ("x" * 81,)]).splitlines()[1:]
    assert cells == ["x" * 80, "x" * 79 + "…"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2J\nb\u202e é") == "a\\x1b[2J\\nb\\u202e é"


def test_an_answer_is_text_or_one_document() -> None:
    answer = Answer({"rows": 1}, "1 row \udcff")

    assert answer.render(as_json=False) == b"1 row \\udcff\n"
    assert orjson.loads(answer.render(as_json=True)) == {"rows": 1}
