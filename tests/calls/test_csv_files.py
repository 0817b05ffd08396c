"""CSV files are read strictly and as a whole, and what is written is inert and comes back (F6 and F19)."""

import csv
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from calls import csv_files
from calls.csv_files import Columns, Row, UnreadableFile, as_cell, describe_faults, from_cell, parse_rows, read_text

LIST = Columns(["to"], ["agent", "timezone"], others=re.compile(r"[a-z_][a-z0-9_]*"))
OPEN = Columns(["number"], ["reason"], kept=["reason"], without_header=["number", "reason"])


def faults(text: str, columns: Columns = LIST) -> list[str]:
    return [f"{fault.line}: {fault.text}" for fault in parse_rows(text, columns)[1]]


def fields(text: str, columns: Columns = LIST) -> list[dict[str, str]]:
    rows, wrong = parse_rows(text, columns)
    assert wrong == []
    return [dict(row.fields) for row in rows]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "{end}", "{end}{end}", "{end},{end} , {end}"])
def test_a_file_is_read_with_any_line_end_and_without_its_empty_rows(end, last):
    text = f'to,name{end}+1, Ann {end}{end},{end}"+2","Lee, ""Bo""{end}Jr"' + last.format(end=end)
    rows, wrong = parse_rows(text, LIST)
    assert wrong == []
    assert rows == [Row(2, {"to": "+1", "name": "Ann"}), Row(5, {"to": "+2", "name": f'Lee, "Bo"{end}Jr'})]


def test_only_line_ends_end_a_line():
    assert fields("to,name\n+1,A\u2028B\x0cC\x1cD\x85E\n") == [{"to": "+1", "name": "A\u2028B\x0cC\x1cD\x85E"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('to,name\n+1,"A\n+2,B\n+3,C\n', ["2: A quote is opened here and never closed."]),
        ('to,name\n+1,A\n+2,B\n+3,"C', ["4: A quote is opened here and never closed."]),
        ('to,name\n+1,"A"B\n+2,5" pipe\n+3, "Smith, Ann"\n', ["2: Text follows", "3: A quote stands", "4: A quote"]),
        ('to,name\n+1,"A\n+2,"B\n', ["2: Text follows", "3: A quote is opened"]),
        ("to,name\n+1\n+2,B,C\n+3,D\n", ["2: The line has 1 fields, and there are 2", "3: The line has 3 fields"]),
        ("to,name\n+1;A\n", ["2: The line has 1 fields, and there are 2 columns. Are they separated by semicolons?"]),
        ("to;name\n+1;A\n", ["1: The columns seem to be separated by semicolons"]),
        ("to\tname\n+1\tA\n", ["1: The columns seem to be separated by tabs"]),
        ("sep=,\nto,name\n", ["1: Remove the line with `sep=`"]),
        ("name\nAnn\n", ["1: The first line must name the columns, and one of them must be `to`."]),
        ("", ["1: The first line must name"]),
        ("\n,\n", ["1: The first line must name"]),
        ("to,name,name\n+1,A,B\n", ["1: There are 2 columns 'name'."]),
        ("to,,\n+1,A,B\n", ["1: A column has no name."]),
        ("to,timezome\n+1,UTC\n", ["1: There is no column 'timezome'. Did you mean `timezone`?"]),
        ("to,First Name\n+1,A\n", ["1: 'First Name' can be neither a column nor a variable"]),
        ("to,name\n+1,A\0B\n", ["2: A field has a NUL character."]),
        (f"to,name\n+1,{'x' * 10_001}\n", ["2: A field has 10001 characters, 10000 are allowed."]),
        ('to,"name\n+1,A\n+2,B\n', ["1: A quote is opened here and never closed."]),
    ],
)
def test_every_fault_is_found_with_its_line(text, expected):
    found = faults(text)
    assert len(found) == len(expected)
    for fault, beginning in zip(found, expected, strict=True):
        assert fault.startswith(beginning)


def test_a_fault_on_one_line_hides_none_on_another():
    found = faults('to,name\n+1,"A\n+2\n\n+3,"B"C\n+4,D\n+5,E,F\n')
    assert [fault.partition(":")[0] for fault in found] == ["2", "3", "5", "7"]


def test_the_words_of_a_header_may_be_written_large():
    assert fields("To,Name\n+1,A\n", Columns(["to"], ["name"])) == [{"to": "+1", "name": "A"}]


def test_a_list_of_numbers_needs_no_header():
    text = "# ours\n+1\n+2, asked \n\n,\n+3,\n"
    expected = [{"number": "+1"}, {"number": "+2", "reason": " asked "}, {"number": "+3", "reason": ""}]
    assert fields(text, OPEN) == expected
    assert fields(f"Number,Reason\n{text.replace('+1', '+1,')}", OPEN)[1:] == expected[1:]
    assert faults("+1,please, stop\n", OPEN) == ["1: The line has 3 fields, and there are 2 columns."]
    assert faults("number,why\n+1,asked\n", OPEN) == ["1: There is no column 'why'. There are: number, reason."]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfet\0o\0", "UTF-16"), (b"\xfe\xff\0t\0o", "UTF-16"), (None, "No such file")],
)
def test_an_unreadable_file_is_refused_with_the_reason(tmp_path, content, message):
    file = tmp_path / "list.csv"
    if content:
        file.write_bytes(content)
    with pytest.raises(UnreadableFile, match=message):
        read_text(file)


def test_a_file_may_have_a_mark_of_its_encoding_and_another_encoding_is_named(tmp_path):
    file = tmp_path / "list.csv"
    file.write_bytes("\ufeff\ufeffto,name\r\n+1,Zoë\r\n".encode())
    assert parse_rows(read_text(file), LIST) == ([Row(2, {"to": "+1", "name": "Zoë"})], [])
    file.write_bytes("to,name\n+1,Ann\n+2,Zoë\n".encode("cp1252"))
    [fault] = parse_rows(read_text(file), LIST)[1]
    assert fault.line == 3
    assert "0xeb, which is 'ë' in Windows-1252" in fault.text


def test_of_many_faults_some_are_shown_and_the_others_counted(tmp_path, monkeypatch):
    wrong = parse_rows("to,name\n" + "+1\n" * 50, LIST)[1]
    shown = describe_faults(tmp_path, wrong).splitlines()
    assert len(shown) == csv_files.MOST_SHOWN + 1
    assert shown[-1] == "... and 30 more"
    monkeypatch.setattr(csv_files, "MOST_FAULTS", 50)
    assert "at least 30 more" in describe_faults(tmp_path, parse_rows("to,name\n" + "+1\n" * 99, LIST)[1])


@given(st.lists(st.lists(st.text(st.characters(exclude_characters="\0"), max_size=6), min_size=2, max_size=2)))
def test_what_the_standard_library_writes_is_read_back(table):
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["to", "name"], *table])
    rows = [row for row in table if any(field.strip() for field in row)]
    everything = Columns(["to"], ["name"], kept=["to", "name"])
    assert fields(out.getvalue(), everything) == [{"to": to, "name": name} for to, name in rows]


@given(st.text('",\n\r a', max_size=60))
def test_any_text_is_read_to_its_end(text):
    rows, wrong = parse_rows(f"to,name\n{text}", LIST)
    assert all(2 <= item.line <= 2 + text.count("\n") + text.count("\r") for item in [*rows, *wrong])


FORMULAS = [
    "=HYPERLINK(A1)", "+1+1", "-2", "@SUM(A1)", "\t=1", "\r=1", " =1", "\xa0=1", "＝1", "'=1", "''=1", "\n=1", "a;=1",
    "a\n+1", "a;\t=1", "\ufeff=1", "\u200b=1", "\x00=1", 'a;"=1;', 'a;""  "-1', '"=1', "\ufe66=1", "a;\ufe62 1",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_is_no_formula_in_any_spreadsheet(text):
    for separator in ("\n", ";", "\t"):
        for cell in as_cell(text).split(separator):
            assert not cell.strip(' \xa0"').startswith(tuple("=+-@＝＋－＠﹦﹢﹣﹫\t\r"))
    assert from_cell(as_cell(text)) == text


@pytest.mark.parametrize("text", ["asked by letter", "'tis", "5' 11\"", "a, b", "two\nlines", "C:\\users", "x=1; y-2"])
def test_other_texts_are_written_as_they_are(text):
    assert as_cell(text) == text == from_cell(text)


@given(st.text(max_size=8) | st.text("'=+-@;\"\t\r\n \\u0012\x1b\u202e", max_size=12))
@example("\\\x1b")
@example("\\u001b\\\\u001b")
def test_every_text_comes_back_and_holds_no_control_character(text):
    cell = as_cell(text)
    assert from_cell(cell) == text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", cell)
