"""Text for terminals and logs has no control characters."""

import re

from hypothesis import given
from hypothesis import strategies as st

from calls.plain_text import is_storable, printable, storable
from tests.rows import each_row


@each_row(
    ("text", "shown"),
    [
        ("Ann O'Hara, 5 °C – ½ Zoë 東京", "Ann O'Hara, 5 °C – ½ Zoë 東京"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("one\ntwo\r\nthree\tfour", r"one\ntwo\r\nthree\tfour"),
        ("\u202egnp.exe\u2066\u200f", r"\u202egnp.exe\u2066\u200f"),
        ("A\u2028B\u2029C\x85D\x9bE\x7fF\0", r"A\u2028B\u2029C\x85D\x9bE\x7fF\x00"),
    ],
)
def test_control_characters_are_written_as_in_python(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@given(st.text() | st.text("a\0\ud800\udfff\ue000"))
def test_what_is_storable_can_be_encoded_and_has_no_nul(text):
    assert "\0" not in storable(text).encode().decode()
    assert is_storable(text) == (storable(text) == text)
