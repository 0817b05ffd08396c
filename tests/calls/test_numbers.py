"""One reading of telephone numbers and addresses, whatever their spelling."""

import unicodedata

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from calls.numbers import (
    NumberRefused,
    caller_number,
    canonical,
    number_in,
    read_address,
    read_beginning,
    read_number,
)
from tests.rows import each_row

LONDON = "+442079460018"


@pytest.mark.parametrize(
    "text",
    [
        "+442079460018",
        "+44 20 7946 0018",
        "+44 (0)20 7946 0018",
        "+44(0)2079460018",
        "+44 ( 0 ) 20 7946 0018",
        "+44 [0] 20 7946 0018",
        "+44 020 7946 0018",
        "+4402079460018",
        "(+44) 20 7946 0018",
        "+(44) 20 7946 0018",
        "+ 44-20-7946-0018",
        "+44.20.7946.0018",
        "+44 20/7946 0018",
        "+44/20/7946/0018",
        "+44\u00b720\u00b77946\u00b70018",
        "+44\u00a020\u00a07946\u00a00018",  # no-break spaces
        "+44\u202f20\u20097946\u20030018",  # narrow, thin and wide spaces
        "+44\u201120\u20137946\u22120018",  # a non-breaking hyphen, a dash, a minus sign
        "+44\u30fc20\uff0d7946\uff5e0018",
        "+44\t20 7946 0018\r\n",
        "\ufeff+44 20 7946 0018",  # a byte order mark
        "\u202a+44 20 7946 0018\u202c",  # as copied from a spreadsheet or an address book
        "\u2066+44\u200b20\u200d7946\u00ad0018\u2069",
        "\uff0b\uff14\uff14\u3000\uff12\uff10\uff17\uff19\uff14\uff16\uff10\uff10\uff11\uff18",
        "+\u0664\u0664\u0662\u0660\u0667\u0669\u0664\u0666\u0660\u0660\u0661\u0668",  # Arabic digits
        "\uff08+44\uff0920 7946 0018",
        "tel:+442079460018",
        "TEL: +44-20-7946-0018",
    ],
)
def test_a_number_is_read_in_every_spelling(text):
    assert read_number(text) == LONDON


@pytest.mark.parametrize("text", ["1.21256E+11", "4,42E+11", "+4.42E+11", "4.42e11"])
def test_a_number_that_a_spreadsheet_has_rounded_is_refused_with_what_to_do(text):
    with pytest.raises(NumberRefused, match="formatted as text"):
        read_number(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+1 1 202 555 0140", "+12025550140"),
        ("+1 (1) 202 555 0140", "+12025550140"),
        ("+49 (0)30 901820", "+4930901820"),
        ("+33 (0)1 42 68 53 00", "+33142685300"),
        ("+61 (0)2 9374 4000", "+61293744000"),
        ("+353 (0)1 677 0095", "+35316770095"),
        ("+39 06 1234 5678", "+390612345678"),  # Italy's zero is part of the number
        ("+39 (0)6 1234 5678", "+390612345678"),
        ("+34 (0)912 345 678", "+34912345678"),  # no trunk zero there, but people write one
        ("+7 8 495 123 45 67", "+74951234567"),
        ("+36 (06) 1 234 5678", "+3612345678"),
        ("+55 (0)11 2345 6789", "+551123456789"),
        ("+54 11 15 2345 6789", "+5491123456789"),
        ("+54 9 11 15 2345 6789", "+5491123456789"),  # the 9 of calls from abroad and the 15 of those at home
        ("+54 9 2966 15 45 6789", "+5492966456789"),
        ("+225 07 01 23 45 67", "+2250701234567"),
        ("+99912345678", "+99912345678"),  # such numbers exist nowhere, but callers send them
        ("+1 000 000 0000", "+10000000000"),
    ],
)
def test_what_a_country_writes_in_front_of_its_numbers_is_understood(text, number):
    assert read_number(text) == number


@each_row(
    ("text", "number"),
    [
        ("+39 0347 123 4567", "+393471234567"),  # no Italian mobile number has a zero
        ("+34 0 612 345 678", "+34612345678"),
        ("+34 0612345678", "+34612345678"),
        ("+1 0 212 555 0123", "+12125550123"),
        ("+1 01 212 555 0123", "+12125550123"),
        ("+351 0912345678", "+351912345678"),
        ("+420 0 601 123 456", "+420601123456"),
        ("+65 0 8123 4567", "+6581234567"),
        ("+225 01 23 45 67 89", "+2250123456789"),  # this zero is part of the number
        ("+39 0549 886 377", "+390549886377"),
        ("+34 0 112 345 678", "+340112345678"),  # without the zero it does not exist either
    ],
)
def test_a_zero_behind_the_country_code_is_dropped_if_only_the_rest_exists(text, number):
    assert read_number(text) == number


@each_row(
    ("text", "number"),
    [(f"+52 {old} 55 1234 5678", "+525512345678") for old in ("1", "01", "(01)", "044", "045")]
    + [("+5215512345678", "+525512345678"), ("+52 1 899 123 4567", "+528991234567"), ("+52 1 5", "")],
)
def test_a_mexican_number_in_an_old_form_is_read_as_the_new_one(text, number):
    if number:
        assert read_number(text) == number
        assert read_address(f"whatsapp:{text}") == f"whatsapp:{number}"
    else:
        with pytest.raises(NumberRefused):
            read_number(text)


@each_row(
    "text",
    [
        "+1 212 555 0123/0124",
        "+1 212 555 0123 - 24",
        "+1 212 555 0123 24",
        "+1 0 212 555 0123 (24)",
        "+49 89 1234567/22",
        "+49 89 1234567 (22)",
        "+49 89 1234567 [22]",
        "(+49 89 1234567) 22",
        "+49 (0)89 1234567 (22)",
        "+49 89 1234567~69",
        "+49 89 1234567\u301c69",
        "+49 89 1234567\u201369",  # a dash
        "+49 89 1234567-68",
        "+49 89 1234567 - 69",
        "+49 89 12 34 56-58",
        "+49 89 1234567 \u2022 8",
        "+49 171 1234567\u00b78",
        "+49 171 1234567 . 8",
        "+49 171 1234567. 8",
        "+49 171 1234567\t8",
        "+49 171 1234567   8",
        "+43 664 1234567 (8)",
        "+43 664 1234567 (0)",
        "+43 1 234567 . 12",
        "+49 30 1234 / 1235",
        "+49 30 123456/-57",
        "+352 26 12 34/56",
        "+47 22 12 34 56 \u00b778",
    ],
)
def test_digits_behind_a_whole_number_are_not_taken_into_it(text):
    with pytest.raises(NumberRefused, match="a second number, or an extension"):
        read_number(text)


@each_row(
    ("text", "number"),
    [
        ("+49 89 1234567-0", "+498912345670"),  # of a switchboard
        ("+49 89 1234567 - 22", "+4989123456722"),  # behind a switchboard, as in DIN 5008
        ("+43 1 234567-89", "+43123456789"),
        ("+4-9-3-0-1-2-3-4-5-6", "+4930123456"),
        ("+49 89 123 456 78", "+498912345678"),
        ("+49.89.1234.567", "+49891234567"),
        ("+49 3941/1234", "+4939411234"),
        ("+49 33056 / 12345", "+493305612345"),
        ("+49 (0)171/123 45 67", "+491711234567"),
        ("+352 26 12 34 56", "+35226123456"),
        ("+81\uff5e3\uff5e1234\uff5e5678", "+81312345678"),
        ("+81\u30fb3\u30fb1234\u30fb5678", "+81312345678"),
        ("+1 (212) 555-0123 ()", "+12125550123"),
    ],
)
def test_what_stands_between_the_parts_of_a_number_is_no_second_one(text, number):
    assert read_number(text) == number


KINDS = [PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.TOLL_FREE, PhoneNumberType.VOIP]
EXAMPLES = {
    phonenumbers.format_number(sample, PhoneNumberFormat.E164): region
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    for kind in KINDS
    if (sample := phonenumbers.example_number_for_type(region, kind)) is not None
}


def spellings(number):
    """The ways in which people write a number, by the rules of its country."""
    parsed = phonenumbers.parse(number)
    international = phonenumbers.format_number(parsed, PhoneNumberFormat.INTERNATIONAL)
    code = f"+{parsed.country_code}"
    national = international.removeprefix(code).strip()
    yield international
    yield phonenumbers.format_number(parsed, PhoneNumberFormat.RFC3966)
    yield f"\u202a{international}\u202c".replace(" ", "\u00a0")
    yield international.replace(" ", "\u2011").replace("-", "\u2013")
    yield f"{code} {national.replace(' ', '/', 1)}"
    yield f"({code}) {national}"
    yield f"\ufeff{code}.{national.replace(' ', '.')}\u200b"
    yield "".join(chr(0xFF10 + int(one)) if one.isdecimal() else one for one in international)
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(phonenumbers.region_code_for_number(parsed))
    if metadata.national_prefix:
        yield f"{code} {metadata.national_prefix} {national}"
        yield f"{code} ({metadata.national_prefix}) {national}"


@pytest.mark.parametrize("region", sorted(set(EXAMPLES.values())))
def test_the_numbers_of_every_country_read_the_same_in_every_spelling(region):
    for number in (number for number, place in EXAMPLES.items() if place == region):
        for text in spellings(number):
            assert read_number(text) == number, ascii(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no \+ and country code"),
        ("   \u200b", r"no \+ and country code"),
        ("2125550123", r"no \+ and country code"),
        ("0044 20 7946 0018", r"no \+ and country code"),
        ("011 44 20 7946 0018", r"no \+ and country code"),
        ("+", "too few digits"),
        ("+12", "too few digits"),
        ("+0123456789", "No country code begins with 0"),
        ("+0123456789012345", "too many digits"),
        ("+4420794600181234567", "too many digits"),
        ("+44 20 7946 0018 ext. 5", 'The character "e" cannot'),
        ("+44 20 7946 0018x5", 'The character "x" cannot'),
        ("+442079460018;ext=5", 'The character ";" cannot'),
        ("+442079460018,,5#", 'The character "," cannot'),
        ("+1-212-FLOWERS", 'The character "F" cannot'),
        ("'+442079460018", 'The character "\'" cannot'),
        ("+44 20 7946\x000018", r"U\+0000 control character"),
        ("+44 20 7946 0018\n+44 20 7946 0019", r"U\+000A control character"),
        ("+44 20 7946 00l8", 'The character "l" cannot'),
        ("+44 2О 7946 0018", r"U\+041E CYRILLIC CAPITAL LETTER O cannot"),
        ("+44 20 7946 001\u2178", r"U\+2178 SMALL ROMAN NUMERAL NINE cannot"),
        ("+44 20 7946 001\u00b2", r"U\+00B2 SUPERSCRIPT TWO cannot"),
        ("+44 20 7946 0018\u2800", r"U\+2800 BRAILLE PATTERN BLANK cannot"),
        ("+44 20 7946 0018\u3164", r"U\+3164 HANGUL FILLER cannot"),
        ("+44 20 7946 001\uff18", r"mixes digits of two scripts, such as the character U\+FF18 FULLWIDTH DIGIT EIGHT"),
        ("++442079460018", r"A \+ may stand in front"),
        ("+442079460018 +442079460019", r"A \+ may stand in front"),
        ("+442079460018/19", "a second number, or an extension"),
        ("+" + "1" * 300, "too long"),
    ],
)
def test_a_refusal_says_what_is_wrong(text, message):
    with pytest.raises(NumberRefused, match=message) as refused:
        read_number(text)
    assert refused.value.code == "invalid-number"
    assert not any(unicodedata.category(one) in {"Cf", "Cc"} for one in str(refused.value))


@given(
    st.text(st.sampled_from("+0123456789 ()-./\u00a0\u200b\uff0b"))
    | st.from_regex(r"\A\+[0-9]{1,3} ?(\(0\)|0)?[0-9 ]{4,16}\Z")
    | st.text(st.sampled_from('sip:SIP@;?<>" clientwhatsapptel+0123.()\u200b'))
    | st.text()
)
@example("+26102123456")  # without its 0 this is one without its area code
@example("sip:<sip:anna@example.com>")
@example("whatsapp: whatsapp:+442079460018")
def test_what_was_read_reads_the_same_again(text):
    try:
        number = read_number(text)
    except NumberRefused:
        number = ""
    assert not number or read_number(number) == number
    assert canonical(canonical(text)) == canonical(text)
    beginning = read_beginning(text)
    assert not beginning or beginning.startswith("+")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" +44 (0)20 7946 0018", LONDON),
        ("anonymous", "anonymous"),
        ("Anonymous", "anonymous"),
        ("RESTRICTED", "anonymous"),
        ("+266696687", "anonymous"),  # what Twilio sends: the letters on a telephone's keys
        ("+7378742833", "anonymous"),
        ("+8656696", "anonymous"),
        ("+86282452253", "anonymous"),
        ("+2562533", "anonymous"),
        ("sip:anonymous@anonymous.invalid", "anonymous"),
        ("sip:Anna@Example.COM", "sip:Anna@example.com"),
        ("SIP:Anna@example.com;transport=udp?subject=x", "sip:Anna@example.com"),
        ("sip:Anna@example.com:5080", "sip:Anna@example.com:5080"),
        ('"Anna" <sip:Anna@example.com>', "sip:Anna@example.com"),
        ('"Anna" <sip:Anna@example.com>;tag=12', "sip:Anna@example.com"),
        ("sip:+1 (202) 555-0140@example.com".replace(" ", ""), "sip:+12025550140@example.com"),
        ("sip:%2B4402079460018;npdi@Example.com", "sip:+442079460018;npdi@example.com"),
        ("sip:+anna:password@example.com", "sip:+anna:password@example.com"),
        ("sips:anna@example.com", "sips:anna@example.com"),
        ("sip:+12025550140@example.com", "sip:+12025550140@example.com"),
        ("\u202aclient:anna\u202c", "client:anna"),
        ("Client:Anna", "client:Anna"),
        ("whatsapp:+44 (0)20 7946 0018", f"whatsapp:{LONDON}"),
    ],
)
def test_an_address_has_one_form(text, address):
    assert read_address(text) == address
    assert read_address(address) == address


NO_ADDRESSES = [
    "", "Anna", "12345", "sip:", "sip:anna@", "client:", "whatsapp:anna", "http://x/", "A <sip:a@x>, B <sip:b@x>",
    "client:a\0", "sip:a\x1b@x", "messenger:\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_other_text_is_no_address_and_stays_as_it_is(text):
    with pytest.raises(NumberRefused):
        read_address(text)
    assert canonical(f" {text}\u200b ") == text


def test_the_numbers_of_withheld_callers_belong_to_nobody():
    for number in ("+7378742833", "+266696687", "+8656696", "+86282452253", "+2562533"):
        assert not phonenumbers.is_valid_number(phonenumbers.parse(number))


@pytest.mark.parametrize(
    ("address", "number"),
    [
        (LONDON, LONDON),
        (f"whatsapp:{LONDON}", LONDON),
        ("client:anna", ""),
        ("sip:+12025550140@x", ""),
        ("+266696687", ""),
    ],
)
def test_the_number_in_an_address(address, number):
    assert number_in(address) == number


@each_row(
    ("address", "number"),
    [
        (LONDON, LONDON),
        (f"whatsapp:{LONDON}", LONDON),
        (f"sip:{LONDON}@trunk.example", LONDON),
        (f"sips:{LONDON}@trunk.example:5061", LONDON),
        (f"sip:{LONDON};npdi@trunk.example", LONDON),
        (f"sip:{LONDON}:password@trunk.example", LONDON),
        ("sip:%2B442079460018@trunk.example", LONDON),
        ("sip:+44-20-7946-0018@trunk.example", LONDON),
        ("sip:442079460018@trunk.example", ""),  # this may be a number of any country, or a name
        ("sip:+266696687@trunk.example", ""),
        ("sip:+anna@trunk.example", ""),
        ("sip:anna@trunk.example", ""),
        ("sip:trunk.example", ""),
        (f"client:{LONDON}", ""),
        ("anonymous", ""),
        ("", ""),
    ],
)
def test_a_caller_through_a_sip_trunk_is_known_by_the_number(address, number):
    assert caller_number(address) == number


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("+44 (0)20", "+4420"),
        ("44 20", "+4420"),
        ("+44 (0)20 7946 0018", LONDON),
        ("+7 800 123", "+7800123"),  # 8 is a trunk prefix there, but here the beginning of a number
        ("+1 202 555", "+1202555"),
        ("anna", ""),
        ("+", ""),
        ("555-0101 please", ""),
    ],
)
def test_the_beginning_of_a_number_is_read_for_a_search(text, beginning):
    assert read_beginning(text) == beginning
