"""
Reads CSV files strictly and as a whole, and writes texts that no spreadsheet takes for a formula. Pure.

A file with a fault is never half understood: a quote that is not closed, for example, makes one field of all lines
below it. So every fault is found, each with its line, and the caller refuses the file if there is one.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from calls.plain_text import CONTROLS

LONGEST_FIELD = 10_000
"""Characters of a field: ten times those of the value of a variable. A longer one is most likely not meant."""
MOST_FAULTS = 1000
"""Faults that are collected. Beyond, the file is something else than a list."""
MOST_SHOWN = 20
"""Faults that a person is shown. Further ones are only counted."""

_SEPARATORS = (";", "semicolons"), ("\t", "tabs"), ("|", "bars")
"""What files have instead of commas, and how it is called."""
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_FIELD = re.compile(
    r'(?:"(?P<quoted>[^"]*(?:""[^"]*)*)(?P<closed>"?)|(?P<plain>[^",\r\n]*))(?P<rest>[^,\r\n]*)(?P<end>,|\r\n|\r|\n|\Z)'
)
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNDECODED = re.compile("[\udc80-\udcff]")


class UnreadableFile(Exception):
    """Nothing of the file can be read. The message says why."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something that is wrong in a file."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: its fields by the names of the columns, without spaces around them."""

    line: int
    """The line on which it begins, counted from 1."""
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a file may have."""

    required: Collection[str]
    optional: Collection[str] = ()
    others: re.Pattern[str] | None = None
    """What further columns may be called; None: there are no others."""
    kept: Collection[str] = ()
    """Columns whose values keep the spaces around them."""
    without_header: Sequence[str] = ()
    """The columns of a file without a header, whose rows may leave out the last ones. Empty: a header is needed."""

    @property
    def known(self) -> list[str]:
        return [*self.required, *self.optional]


def parse_rows(text: str, columns: Columns) -> tuple[list[Row], list[Fault]]:
    """Return the rows of this text that are not empty, and all its faults, both in the order of their lines."""
    faults: list[Fault] = []
    rows: list[Row] = []
    names: Sequence[str] | None = None
    begun, readable = False, True
    """Whether the first row has come, and whether it is known which field belongs to which column."""
    for line, fields, fault in _records(text):
        if len(faults) >= MOST_FAULTS:
            break
        if fault := fault or _content_fault(fields):
            faults.append(Fault(line, fault))
            begun, readable = True, readable and begun
        elif not any(field.strip() for field in fields) or (columns.without_header and fields[0].startswith("#")):
            continue
        elif not begun and (names := _header(fields, columns)) is not None:
            wrong = [Fault(line, text) for text in _header_faults(names, columns)]
            faults += wrong
            begun, readable = True, not wrong
        elif readable:
            begun = True
            if wrong_count := _count_fault(fields, names, columns):
                faults.append(Fault(line, wrong_count))
            else:
                pairs = zip(names or columns.without_header, fields, strict=False)
                rows.append(Row(line, {name: text if name in columns.kept else text.strip() for name, text in pairs}))
    if not begun and not columns.without_header:
        faults.append(Fault(1, _no_column(columns.required)))
    return rows, faults


def describe_faults(file: Path, faults: Sequence[Fault]) -> str:
    """Return the faults as lines for a person, with those beyond ``MOST_SHOWN`` counted."""
    shown = [f"{file}:{fault.line}: {fault.text}" for fault in sorted(faults)[:MOST_SHOWN]]
    more = len(faults) - MOST_SHOWN
    atleast = "at least " if len(faults) >= MOST_FAULTS else ""
    return "\n".join([*shown, f"... and {atleast}{more} more"] if more > 0 else shown)


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8, for ``parse_rows`` to find what is none. Raises ``UnreadableFile``."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnreadableFile(error.strerror or str(error)) from error
    if encoding := _BOMS.get(content[:2]):
        raise UnreadableFile(f"it is {encoding}. Save it as UTF-8.")
    # Some programs add a byte order mark to a file that has one.
    return content.decode("utf-8", errors="surrogateescape").lstrip("\ufeff")


def _records(text: str) -> Iterator[tuple[int, list[str], str]]:
    """Yield line, fields and fault of each record. Behind a wrong quote, the next line is the next record."""
    at, line = 0, 1
    while at < len(text):
        start, fields, fault = line, [], ""
        while True:
            match = _FIELD.match(text, at)
            assert match is not None  # every part of it may be empty
            if fault := _quote_fault(match):
                end_of_line = _LINE_END.search(text, at)
                at = end_of_line.end() if end_of_line else len(text)
                yield line, [], fault
                line += 1
                break
            quoted = match["quoted"]
            fields.append(match["plain"] if quoted is None else quoted.replace('""', '"'))
            at = match.end()
            line += len(_LINE_END.findall(match[0]))
            if match["end"] != ",":
                yield start, fields, ""
                break


def _quote_fault(match: re.Match[str]) -> str:
    if match["quoted"] is None:
        if not match["rest"]:
            return ""
        return (
            "A quote stands inside of a field. Write a field with quotes or commas in quotes, without a space before "
            'them, and each quote in it twice: "Ann ""Annie"" Lee".'
        )
    if not match["closed"]:
        return "A quote is opened here and never closed."
    return "Text follows a closing quote. Write each quote in a field twice." if match["rest"] else ""


def _content_fault(fields: Sequence[str]) -> str:
    for field in fields:
        if len(field) > LONGEST_FIELD:
            return f"A field has {len(field)} characters, {LONGEST_FIELD} are allowed."
        if "\0" in field:
            return "A field has a NUL character. The file may be UTF-16: save it as UTF-8."
        if wrong := _UNDECODED.search(field):
            byte = bytes([ord(wrong[0]) - 0xDC00])
            return (
                f"This is not UTF-8: it has the byte 0x{byte.hex()}, which is {byte.decode('cp1252', 'replace')!r} in "
                "Windows-1252. Save the file as UTF-8."
            )
    return ""


def _header(fields: Sequence[str], columns: Columns) -> list[str] | None:
    """The names of the columns; None if the first row is none with names, and need not be."""
    names = [field.strip() for field in fields]
    names = [name.lower() if name.lower() in columns.known else name for name in names]
    return None if columns.without_header and names[0] not in columns.known else names


def _header_faults(names: Sequence[str], columns: Columns) -> Iterator[str]:
    missing = [name for name in columns.required if name not in names]
    for separator, called in _SEPARATORS:
        if missing and any(separator in name for name in names):
            yield f"The columns seem to be separated by {called}. Separate them by commas."
            return
    if names[0].lower().startswith("sep="):
        yield "Remove the line with `sep=`."
        return
    for name, count in Counter(names).items():
        if not name:
            yield "A column has no name. Name it, or remove it."
        elif count > 1:
            yield f"There are {count} columns {name!r}."
        elif name not in columns.known and (wrong := _unknown_column(name, columns)):
            yield wrong
    if missing:
        yield _no_column(missing)


def _no_column(missing: Collection[str]) -> str:
    names = " and ".join(f"`{name}`" for name in missing)
    return f"The first line must name the columns, and one of them must be {names}."


def _unknown_column(name: str, columns: Columns) -> str:
    close = get_close_matches(name.lower().replace(" ", "_"), columns.known, n=1, cutoff=0.8)
    if close:
        return f"There is no column {name[:60]!r}. Did you mean `{close[0]}`?"
    if columns.others is None:
        return f"There is no column {name[:60]!r}. There are: {', '.join(columns.known)}."
    if not columns.others.fullmatch(name):
        return (
            f"{name[:60]!r} can be neither a column nor a variable, whose name has lower-case letters, digits and "
            "underscores."
        )
    return ""


def _count_fault(fields: Sequence[str], names: Sequence[str] | None, columns: Columns) -> str:
    expected = names or columns.without_header
    if len(fields) == len(expected) or (names is None and len(fields) < len(expected)):
        return ""
    called = [called for sign, called in _SEPARATORS if len(fields) == 1 and sign in fields[0]]
    hint = f" Are they separated by {called[0]}? Separate them by commas." if called else ""
    return f"The line has {len(fields)} fields, and there are {len(expected)} columns.{hint}"


# --- Texts for spreadsheets and terminals ------------------------------------------------------------------

_CELL = r"(?:^|(?<=[;\n]))"
"""Where a cell begins: also behind what separates cells in a spreadsheet of another country."""
_FORMULA = r'(?:"|[^\S\n])*[=+\-@＝＋－＠﹦﹢﹣﹫]'
"""What begins a formula. A quote may stand before it: it opens a cell for a spreadsheet that ends the one before it."""
_MAKE_TEXT = re.compile(rf"{_CELL}(?='*{_FORMULA})")
_MADE_TEXT = re.compile(rf"{_CELL}'(?='*{_FORMULA})")
_UNPRINTABLE = rf"[\t{CONTROLS}]"
_ESCAPE = re.compile(rf"{_UNPRINTABLE}|\\(?=\\*(?:u[0-9a-f]{{4}}|{_UNPRINTABLE}))")
_ESCAPED = re.compile(r"(\\+)(u([0-9a-f]{4}))")


def as_cell(text: str) -> str:
    r"""
    Return ``text`` so that no spreadsheet takes a part of it for a formula and no terminal for a command.

    A formula gets an apostrophe in front, which spreadsheets take for the sign of a text, and a control character
    becomes ``\u001b``. ``from_cell`` undoes both; texts that begin with an apostrophe or contain ``\u`` come back too.
    """
    plain = _ESCAPE.sub(lambda match: "\\\\" if match[0] == "\\" else f"\\u{ord(match[0]):04x}", text)
    return _MAKE_TEXT.sub("'", plain)


def from_cell(text: str) -> str:
    """Return the text that ``as_cell`` was given."""
    return _ESCAPED.sub(_unescaped, _MADE_TEXT.sub("", text))


def _unescaped(match: re.Match[str]) -> str:
    backslashes = len(match[1])
    return "\\" * (backslashes // 2) + (chr(int(match[3], 16)) if backslashes % 2 else match[2])
