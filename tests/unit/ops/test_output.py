import orjson

from ops.output import Answer, printable, progress_line, table, tables


def test_columns_line_up_and_a_long_cell_is_cut() -> None:
    assert table(("ID", "ERROR"), [(1, None), (200, "x")]) == "ID   ERROR\n1    -\n200  x"
    cells = table(("ERROR",), [("x" * 80,), ("x" * 81,)]).splitlines()[1:]
    assert cells == ["x" * 80, "x" * 79 + "…"]


def test_a_wide_table_goes_on_in_the_next_line_and_keeps_an_id_whole() -> None:
    found = "order done for 3607 s, no reservation " * 2
    lines = table(("ORDER", "FOUND", "EXPECTED", "TRACE"), [(4, found, found, "a" * 32)]).splitlines()

    assert max(map(len, lines)) <= 100
    assert lines[1].endswith("  " + "a" * 32)
    assert " ".join(line[7:38].strip() for line in lines[1:]).split() == found.split()
    assert table(("ID",), [("a" * 80,)] * 2).splitlines() == ["ID", "a" * 80, "a" * 80]
    assert max(map(len, table(("A", "B"), [("a" * 80, "b" * 80)]).splitlines())) == 162  # nothing can be narrower


def test_rows_of_a_kind_are_counted_and_the_first_are_shown() -> None:
    rows = [("stock", number) for number in range(7)] + [("held", 1)]

    assert tables(("KIND", "ID"), rows, 2) == "stock: 7, of which 2 are shown\nID\n0\n1\n\nheld: 1\nID\n1"
    assert tables(("KIND", "ID"), rows, 7).startswith("stock: 7\nID\n0\n1\n2\n3\n4\n5\n6\n\n")
    assert tables(("KIND", "ID"), rows) == tables(("KIND", "ID"), rows, 7)
    assert tables(("KIND", "ID"), []) == ""


def test_progress_says_rows_rate_and_time_left() -> None:
    assert progress_line("reconcile", 250_000, 1_000_000, 10.0) == (
        "reconcile: 250,000 of 1,000,000 rows, 25,000/s, 30 s left"
    )
    assert progress_line("reconcile", 3, 2, 1.0).endswith("3/s, 0 s left")


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2J\nb\u202e é") == "a\\x1b[2J\\nb\\u202e é"


def test_an_answer_is_text_or_one_document() -> None:
    answer = Answer({"rows": 1}, "1 row \udcff")

    assert answer.render(as_json=False) == b"1 row \\udcff\n"
    assert orjson.loads(answer.render(as_json=True)) == {"rows": 1}
