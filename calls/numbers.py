"""
Reads telephone numbers and other addresses of callers. Pure.

This is the only place that reads a number. Everything that stores, compares, dials or looks up a number asks
``read_number`` or ``read_address`` first, so that one number has one form everywhere, however it was written.
"""

import re
import unicodedata
from urllib.parse import unquote

import phonenumbers

from calls.errors import CallsError

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
"""A telephone number in international form. The text must match as a whole (``fullmatch``)."""
ANONYMOUS = "anonymous"
"""The address of every caller who withholds the number."""

LONGEST = 200
"""Characters of a number as it is written: 15 digits with separators, and the invisible marks of a spreadsheet."""
_EXAMPLE = "Write the number in international form, for example +1 212 555 0123."
_PLUSES = "+\uff0b"  # the second is the full-width plus
_OPENING, _CLOSING = "([{\uff08\uff3b", ")]}\uff09\uff3d"
_DIVIDERS = "/\uff0f\u2044\u2215~\u2053\u223c\uff5e\u301c\u00b7\u2027\u2022\u30fb\t"
"""Signs between the parts of a number, or between a number and something else. They are written as a slash."""
_DASHES = "\u2212\u2043\u30fc\uff70"  # besides all of the category Pd
_DOTS = ".\uff0e"
_WHOLE = 8
"""Digits of a whole number, with its country code. No area code of so many digits is a whole number itself, except in
Luxembourg and Myanmar (the area codes of ``phonenumbers.geodata``)."""
_DIVIDED = re.compile(r"[/()]| [ .]|\. ")
"""What stands between two numbers, or before an extension, but also inside a number: "+44 20/7946 0018"."""
_RANGE_ENDS = 9
"""A range has at most so many more numbers than its first: "1234567-69" is one, "1234567-00" an extension."""
_OLD_PREFIXES = {52: ("1", "01", "044", "045"), 54: ("9", "09")}
"""
What people write behind a country code where it does not belong: it stood there before numbers were changed, and still
does in address books and on WhatsApp; or, in Argentina, mobile numbers have a 9 from abroad and a 15 at home, not both.
"""
_UNSEEN = "\u034f\ufe0e\ufe0f"  # besides all of the category Cf
_ROUNDED = re.compile(r"\+?[0-9]([.,][0-9]+)?E\+?[0-9]+", re.IGNORECASE)
"""What a spreadsheet makes of a long number, such as 1.21256E+11. The other digits are lost."""
_TRUNK_ZERO = re.compile(r"\( *0 *\)")
_WITHHELD = frozenset({ANONYMOUS, "restricted", "unknown", "unavailable", "blocked", "private", "withheld"})
_WITHHELD_NUMBERS = frozenset({"+7378742833", "+266696687", "+8656696", "+86282452253", "+2562533"})
"""What Twilio sends instead of RESTRICTED, ANONYMOUS, UNKNOWN, UNAVAILABLE and BLOCKED. None is a real number."""
_ADDRESS = re.compile(r"(?P<scheme>sips?|client|whatsapp|messenger):(?P<rest>.+)", re.IGNORECASE | re.DOTALL)


class NumberRefused(CallsError, ValueError):
    """A number cannot be read, or must not be dialled. ``code`` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code)


def read_number(text: str) -> str:
    """
    Return the number as E.164, whatever its spelling: separators, brackets, trunk zeros, invisible marks, ``tel:``.

    The number begins with + and its country code. It need not exist: callers send such numbers too, and these can be
    listed and forgotten. Reading a number that was read changes nothing. Raises ``NumberRefused`` (``invalid-number``).
    """
    return choose(readings(text))


def choose(read: list[str]) -> str:
    """Return the reading that is a number. Raises ``NumberRefused`` if it is too short or too long for one."""
    number = read[0] if len(read) == 1 or _exists(read[0]) else read[-1]
    if not E164.fullmatch(number):
        digits = len(number) - 1
        if 7 <= digits <= 15:
            raise invalid(f"No country code begins with 0. {_EXAMPLE}")
        raise invalid(f"The number has too {'few' if digits < 7 else 'many'} digits. {_EXAMPLE}")
    return number


def readings(text: str) -> list[str]:
    """
    Return + and digits for each way to read the number: as it stands, and without a trunk zero in brackets.

    Either may be too short for a number. For rules that must hold for both. Raises ``NumberRefused``.
    """
    written = _simplify(text)
    if not written.startswith("+"):
        raise invalid(f"The number has no + and country code in front. {_EXAMPLE}")
    read = [_settle(_digits(spelling)) for spelling in _spellings(written)]
    _refuse_second_number(written, read)
    return read


def read_address(text: str) -> str:
    """
    Return the one form of a caller's address: a number as E.164, ``sip:``, ``client:``, ``whatsapp:`` or ``anonymous``.

    Raises ``NumberRefused`` (``invalid-number``) if the text is none of these.
    """
    seen = _remove_unseen(text).strip()
    if seen.lower() in _WITHHELD:
        return ANONYMOUS
    match = _ADDRESS.fullmatch(seen)
    uri = None if match else re.fullmatch(r"[^<>]*<([^<>]+)>(;[^<>]*)?", seen)  # behind the name of the caller
    subject = uri[1].strip() if uri else seen
    match = match or _ADDRESS.fullmatch(subject)
    if match is None:
        number = read_number(subject)
        return ANONYMOUS if number in _WITHHELD_NUMBERS else number
    scheme, rest = match["scheme"].lower(), match["rest"].strip()
    if wrong := next((one for one in rest if unicodedata.category(one) in ("Cc", "Cs")), ""):
        raise invalid(f"The {_name(wrong)} cannot be part of an address.")
    if scheme == "whatsapp":
        return f"whatsapp:{read_number(rest)}"
    return _read_sip(scheme, rest) if scheme.startswith("sip") else f"{scheme}:{rest}"


def canonical(text: str) -> str:
    """Return ``read_address(text)``; without invisible marks as it is if it is no address, such as a short code."""
    try:
        return read_address(text)
    except NumberRefused:
        return _remove_unseen(text).strip()


def number_in(address: str) -> str:
    """Return the telephone number that an address in its one form contains; empty if it has none."""
    number = address.removeprefix("whatsapp:")
    return number if E164.fullmatch(number) and number not in _WITHHELD_NUMBERS else ""


def caller_number(address: str) -> str:
    """
    Return the telephone number by which a caller with this address is known; empty if there is none.

    A call through a SIP trunk comes from ``sip:+442079460018@trunk.example``. The name there begins with + only if it
    is a number.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not match["scheme"].lower().startswith("sip"):
        return number_in(address)
    user = unquote(re.split("[@;:]", match["rest"])[0]) if "@" in match["rest"] else ""
    try:
        return number_in(read_number(user)) if user.startswith("+") else ""
    except NumberRefused:
        return ""


def read_beginning(text: str) -> str:
    """Return + and the digits of a number, or of its beginning. Empty if the text has anything else, or no digits."""
    try:
        written = _simplify(text)
    except NumberRefused:
        return ""
    digits = _digits(_spellings(written)[-1])
    try:
        number = read_number(written)
    except NumberRefused:
        number = ""
    # The beginning of a number is not read as a whole one: what looks like a trunk prefix may belong to the number.
    return number if number and _exists(number) else f"+{digits}" if digits else ""


def invalid(message: str) -> NumberRefused:
    return NumberRefused("invalid-number", message)


def spelled_out(text: str) -> str:
    """
    Return the text as ASCII digits, +, brackets, spaces and dashes; unchanged if it has other characters.

    For rules that read a number as it was written, such as those about emergency numbers.
    """
    try:
        return _simplify(text)
    except NumberRefused:
        return text


def _simplify(text: str) -> str:
    """Write every character of a number in ASCII. Raises ``NumberRefused``, which names the first that is none."""
    if len(text) > LONGEST:
        raise invalid(f"This is too long for a telephone number. {_EXAMPLE}")
    seen = _remove_unseen(text).strip()
    seen = re.sub(r"\Atel:\s*", "", seen, flags=re.IGNORECASE)
    if _ROUNDED.fullmatch(seen):
        raise invalid("A spreadsheet has rounded this number. Write it again into a cell that is formatted as text.")
    written: list[str] = []
    digits: list[str] = []
    for character in seen:
        if unicodedata.category(character) == "Nd":
            digits.append(character)
            written.append(str(unicodedata.decimal(character)))
        elif character in _PLUSES:
            if digits or "+" in written:
                raise invalid(f"A + may stand in front of the number only. {_EXAMPLE}")
            written.append("+")
        else:
            written.append(_separator(character))
    # Digits of two scripts are no spelling that people use, but a way to hide a number.
    zeros = {ord(digit) - unicodedata.decimal(digit): digit for digit in digits}
    if len(zeros) > 1:
        other = zeros[max(zeros)]
        raise invalid(f"The number mixes digits of two scripts, such as the {_name(other)}. {_EXAMPLE}")
    return "".join(written).lstrip(" (-.")


def _separator(character: str) -> str:
    category = unicodedata.category(character)
    for signs, sign in ((_OPENING, "("), (_CLOSING, ")"), (_DIVIDERS, "/"), (_DASHES, "-"), (_DOTS, ".")):
        if character in signs:
            return sign
    if category in ("Zs", "Pd"):
        return " " if category == "Zs" else "-"
    raise invalid(f"The {_name(character)} cannot be part of a telephone number. {_EXAMPLE}")


def _remove_unseen(text: str) -> str:
    """Remove characters that nobody sees: zero-width spaces, marks of direction, soft hyphens, byte order marks."""
    return "".join(one for one in text if unicodedata.category(one) != "Cf" and one not in _UNSEEN)


def _name(character: str) -> str:
    """Name a character so that also an invisible one, or one that looks like another, can be told."""
    if character.isascii() and character.isprintable():
        return f'character "{character}"'
    name = unicodedata.name(character, "control character" if unicodedata.category(character) == "Cc" else "")
    return f"character U+{ord(character):04X} {name}".rstrip()


def _refuse_second_number(written: str, read: list[str]) -> None:
    """
    Refuse ``+1 212 555 0123/0124`` and ``+49 89 1234567 (22)``, which are two numbers, or one and its extension.

    If what stands before a sign is a whole number, the digits behind it need not belong to it. A hyphen or a space
    there is trusted if the whole text is a number and no range: many countries write parts of a number behind them.
    """
    signs = list(re.finditer(r"[^0-9+]+(?=[0-9])", written))
    exists = bool(signs) and any(map(_exists, read))
    for sign in signs:
        before = _digits(written[: sign.start()])
        if len(before) < _WHOLE or not _exists(_settle(before)):
            continue
        if not exists or _DIVIDED.search(sign[0]) or ("-" in sign[0] and _is_range(written, sign)):
            raise invalid(f"Something stands behind the number: a second number, or an extension. {_EXAMPLE}")


def _is_range(written: str, dash: re.Match[str]) -> bool:
    """Whether the digits around the dash are the first and the last number of a range, which may be cut: "0123-24"."""
    first, last = re.split("[^0-9]", written[: dash.start()])[-1], re.split("[^0-9]", written[dash.end() :])[0]
    return len(first) > 1 and 0 < int(last) - int(first[-len(last) :]) <= _RANGE_ENDS


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)


def _spellings(written: str) -> list[str]:
    """
    The number as it stands, and without a trunk zero in brackets.

    As it stands comes first, because the zero belongs to the number in some countries, such as Italy.
    """
    without = _TRUNK_ZERO.sub("", written, count=1)
    return [written] if without == written else [written, without]


def _settle(digits: str) -> str:
    """Return + and the digits without trunk prefixes behind the country code, as libphonenumber reads them."""
    text = f"+{digits}"
    # Each round may take away one prefix. What is read must read the same again.
    for _ in range(10):
        try:
            number = phonenumbers.parse(text)
        except phonenumbers.NumberParseException:
            return text
        again = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        if again == text:
            return _without_prefix(text, number)
        text = again
    raise invalid(f"This telephone number does not exist. {_EXAMPLE}")


def _without_prefix(text: str, number: phonenumbers.PhoneNumber) -> str:
    """Drop a trunk prefix that libphonenumber does not expect there, if the number exists without it only."""
    code = f"+{number.country_code}"
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    if phonenumbers.is_valid_number(number):
        return text
    prefixes = ((metadata and metadata.national_prefix) or "0", "0", *_OLD_PREFIXES.get(number.country_code or 0, ()))
    for prefix in dict.fromkeys(prefixes):
        if text.startswith(code + prefix):
            shorter = _settle(code[1:] + text.removeprefix(code + prefix))
            if _exists(shorter):
                return shorter
    return text


def _exists(number: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def _read_sip(scheme: str, rest: str) -> str:
    """
    Return a SIP address without its parameters, its host in lower case. Users are told apart by case (RFC 3261).

    A user that begins with + is a telephone number, which has one form here too.
    """
    user, at, host = rest.rpartition("@")
    host = re.split(r"[;?]", host, maxsplit=1)[0].strip().lower()
    if not host or re.search(r'[\s<>"]', user + host):
        raise invalid(f"This is no SIP address. Write it as {scheme}:name@example.com.")
    if user.lower() == ANONYMOUS:
        return ANONYMOUS
    return f"{scheme}:{_read_user(user)}{at}{host}"


def _read_user(user: str) -> str:
    number, *rest = re.split("([;:])", user, maxsplit=1)
    plain = unquote(number)
    try:
        return read_number(plain) + "".join(rest) if plain.startswith("+") else user
    except NumberRefused:
        return user
