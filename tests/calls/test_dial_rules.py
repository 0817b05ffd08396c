"""The numbers that may be dialled, and those that may not."""

import re
import unicodedata
from zoneinfo import available_timezones

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import timezone

from calls.area_codes import is_known, parse_new_codes
from calls.dial_rules import REGIONS, TYPES, dialable, region_of, zones_of
from calls.numbers import NumberRefused

USUAL = {"FIXED_LINE", "MOBILE", "FIXED_LINE_OR_MOBILE"}


def result_or_refusal(decide):
    try:
        return decide()
    except NumberRefused as refused:
        return refused


def code_of(text, *, countries=("US", "GB", "FR"), types=USUAL):
    with pytest.raises(NumberRefused) as refused:
        dialable(text, countries=countries, types=types)
    return refused.value.code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "hello",
        "2125550123",
        "0012125550123",
        "+1212555012",
        "+1 212 555 01234",
        "+15555550123",
        "+99912345678",
        "+1-212-FLOWERS",
        "sip:+12125550123@example.com",
        "+12125550123 ext. 5",
        "+12125550123x5",
        "+12125550123;ext=5",
        "+12125550123,,5#",
        "+12125550123/0124",
        "+1212555\x000123",
        "\x00+12125550123",
        "+1٢125550123",
        "+1212555012３",
        "++12125550123",
        "+12125550123 +12125550124",
        "+" + "1" * 100_000,
        "+1" + " " * 100_000 + "2125550123",
    ],
)
def test_text_that_is_not_a_number_in_international_form_is_refused(text):
    assert code_of(text) == "invalid-number"


@pytest.mark.parametrize(
    "text",
    [
        "911",
        "112",
        "999",
        "9 1 1",
        "911#",
        "９１１",
        "+911",
        "+112",
        "9116",
        "9115551234",
        "9-1-1 555 1234 5678",
        "112,,1",
    ],
)
def test_an_emergency_number_is_recognised_as_it_was_written(text):
    assert code_of(text) == "emergency-number"
    assert code_of(text, countries={"*"}) == "emergency-number"


@pytest.mark.parametrize("text", ["+1911", "+1 (911)", "+44 999", "+44 112", "+49 110", "+33 15", "+1 911 555 0123"])
def test_an_emergency_number_after_a_country_code_is_recognised(text):
    assert code_of(text) == "emergency-number"


@pytest.mark.parametrize("n", range(2, 10))
def test_the_service_codes_of_north_america_are_never_dialled(n):
    assert code_of(f"+1{n}11") == "emergency-number"


FORBIDDEN = {
    "emergency-number": ["911", "112", "999", "+1911", "+1 911 555 0123", "+44 999", "+49 110", "+1 411", "9115551234"],
    "premium-number": ["+1 900 555 1234", "+1 212 976 1234", "+44 909 879 0000"],
    "country-not-allowed": ["+1 876 555 0123", "+1 809 555 0123", "+881612345678", "+870773111632", "+49 30 123456"],
    "number-type-not-allowed": ["+1 800 555 0123"],
    "invalid-number": ["0012125550123", "01112125550123", "+12125550123 ext. 5", "+1 976 555 0123", "+1 555 555 0123"],
}
DISGUISES = {
    "as it is": str,
    "zero-width spaces": "\u200b".join,
    "marks of direction": lambda text: f"\u202a\u2066{text}\u2069\u202c",
    "a byte order mark": lambda text: f"\ufeff{text}",
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "soft hyphens": "\u00ad".join,
    "full-width digits": lambda text: text.translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
    "Arabic digits": lambda text: text.translate({ord("0") + n: 0x0660 + n for n in range(10)}),
    "dashes": "\u2011".join,
    "dots": ".".join,
    "brackets": lambda text: f"({text})",
    "a scheme": lambda text: f"tel:{text}",
    "blanks": lambda text: f"\u3000{text}\t\n",
}


@pytest.mark.parametrize(
    ("code", "text"), [(code, text) for code, texts in FORBIDDEN.items() for text in texts], ids=lambda value: value
)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_spelling_makes_a_forbidden_number_dialable(code, text, disguise):
    assert code_of(DISGUISES[disguise](text)) == code


def test_a_premium_number_is_refused_even_if_everything_else_is_allowed():
    assert code_of("+1 900 555 1234", countries={"*"}, types={*TYPES, "PREMIUM_RATE"}) == "premium-number"


def test_only_listed_countries_are_dialled_even_within_a_shared_code():
    assert code_of("+49 30 123456") == "country-not-allowed"
    assert code_of("+1 876 555 0123", countries={"US"}) == "country-not-allowed"  # Jamaica
    assert code_of("+44 7781 123456", countries={"GB"}) == "country-not-allowed"  # Guernsey
    assert dialable("+1 876 555 0123", countries={"US", "JM"}, types=USUAL) == "+18765550123"


@pytest.mark.parametrize("number", ["+881612345678", "+870773111632"])
def test_satellite_numbers_must_be_allowed_by_name(number):
    assert code_of(number, countries={"*"}) == "country-not-allowed"
    assert dialable(number, countries={"001"}, types=TYPES) == number


def test_only_listed_types_are_dialled():
    assert code_of("+1 800 555 0123") == "number-type-not-allowed"
    assert dialable("+1 800 555 0123", countries={"US"}, types={"TOLL_FREE"}) == "+18005550123"


def test_every_refusal_has_a_message_for_a_person():
    with pytest.raises(NumberRefused, match=r"This number belongs to DE, where calls are not allowed\."):
        dialable("+49 30 123456", countries={"US"}, types=USUAL)
    with pytest.raises(NumberRefused, match=r"Numbers of this type \(toll free\) are not allowed\."):
        dialable("+1 800 555 0123", countries={"US"}, types=USUAL)
    with pytest.raises(NumberRefused, match=r"in international form, for example \+1 212 555 0123\."):
        dialable("212 555 0123", countries={"US"}, types=USUAL)


numberish = st.text(st.sampled_from("+0123456789 ()-.x#;,*/٣９\x00\n\u200b\u00a0")) | st.from_regex(
    r"\A\+?[0-9]{1,17}\Z"
)


@given(text=st.text(st.characters(codec=None)) | numberish, named=st.sampled_from([("*",), ("US", "001"), ("XX",), ()]))
@example(text="+1911\x00", named=("*",))
@example(text="tel:911;ext=" + "9" * 10_000, named=("*",))
def test_any_text_is_either_a_valid_number_or_refused(text, named):
    number = result_or_refusal(lambda: dialable(text, countries=named, types=TYPES))
    if isinstance(number, NumberRefused):
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", number.code)
        assert str(number)
    else:
        assert re.fullmatch(r"\+[1-9][0-9]{6,14}", number)
        assert phonenumbers.is_valid_number(phonenumbers.parse(number))
        assert dialable(number, countries=named, types=TYPES) == number
        assert region_of(number) in REGIONS
        assert zones_of(number)
        # Whatever was forbidden as it stood is still refused.
        assert number.endswith(re.sub(r"[^0-9]", "", unicodedata.normalize("NFKC", text))[-6:])
        national = phonenumbers.national_significant_number(phonenumbers.parse(number))
        assert not re.fullmatch(r"\+1(...976....|.11.*)", number)
        assert not phonenumbers.is_emergency_number(national, region_of(number))


@given(text=numberish)
def test_region_and_zones_refuse_text_that_is_not_a_number(text):
    found = result_or_refusal(lambda: (region_of(text), zones_of(text)))
    if isinstance(found, NumberRefused):
        assert found.code == "invalid-number"
    else:
        region, zones = found
        assert region in REGIONS
        assert zones
        assert timezone.UNKNOWN_TIMEZONE not in zones


@pytest.mark.parametrize(
    ("number", "region"),
    [
        ("+12125550123", "US"),
        ("+14165550123", "CA"),
        ("+18005550123", "US"),
        ("+447400123456", "GB"),
        ("+77012345678", "KZ"),
        ("+881612345678", "001"),
        ("+15555550123", "US"),  # outside the numbering plan: the main country of the code
    ],
)
def test_a_number_has_the_region_of_its_country(number, region):
    assert region_of(number) == region


def test_a_landline_has_the_zone_of_its_town():
    assert zones_of("+1 212 555 0123") == ("America/New_York",)
    assert zones_of("+977 1 4123456") == ("Asia/Katmandu",)


def test_a_toll_free_number_has_every_zone_of_its_country_code():
    zones = zones_of("+18005550123")
    assert len(zones) > 40
    assert {"Pacific/Guam", "America/St_Johns", "Pacific/Pago_Pago"} <= {*zones}


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        ("+18762101234", {"America/Jamaica"}),
        ("+61412345678", {*timezone.TIMEZONE_DATA["61"]}),
        ("+628123456789", {"Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura"}),
        ("+622112345678", {"Asia/Jakarta"}),
        ("+5511961234567", {"America/Sao_Paulo"}),
    ],
)
def test_a_mobile_number_has_the_zones_of_its_area_code_or_else_of_its_country(number, zones):
    assert {*zones_of(number)} == zones


@pytest.mark.parametrize("number", ["+18005550123", "+15005550006", "+17105550123", "+14565550123"])
def test_a_code_of_a_service_has_every_zone(number):
    assert zones_of(number) == zones_of("+18885550123")


def test_a_number_outside_the_numbering_plan_has_the_zones_of_its_country_code():
    assert timezone.time_zones_for_number(phonenumbers.parse("+441624000000")) == (timezone.UNKNOWN_TIMEZONE,)
    assert "Europe/Isle_of_Man" in zones_of("+441624000000")


def test_a_number_without_a_country_has_utc():
    assert zones_of("+881612345678") == zones_of("+80012345678") == ("UTC",)


def test_every_zone_that_a_number_may_have_is_known_to_zoneinfo():
    zones = {zone for known in timezone.TIMEZONE_DATA.values() for zone in known}
    assert zones <= available_timezones()


def test_the_settings_may_name_real_countries_and_types_only():
    assert {"US", "GB", "001"} <= REGIONS
    assert "UK" not in REGIONS
    assert USUAL | {"TOLL_FREE", "VOIP"} <= TYPES
    assert "PREMIUM_RATE" not in TYPES


# --- Area codes of +1 --------------------------------------------------------------------------------------

EASTERN, CENTRAL, MOUNTAIN, PACIFIC = "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"


@pytest.mark.parametrize(
    ("codes", "zones"),
    [
        ("448 850", {EASTERN, CENTRAL}),
        ("364 270", {EASTERN, CENTRAL}),
        ("930 812", {EASTERN, CENTRAL}),
        ("423 729", {EASTERN, CENTRAL}),
        ("931", {EASTERN, CENTRAL}),
        ("458 541", {PACIFIC, MOUNTAIN}),
        ("432 915", {CENTRAL, MOUNTAIN}),
        ("334 483", {EASTERN, CENTRAL}),
        ("208 986", {PACIFIC, MOUNTAIN, "America/Boise"}),
        ("306 474 639", {"America/Regina", "America/Winnipeg", "America/Edmonton"}),
        ("928", {"America/Phoenix", MOUNTAIN}),
        ("212 917 646", {EASTERN}),
        ("213 738", {PACIFIC}),
        ("876 658", {"America/Jamaica"}),  # mobile numbers have a type of their own on the islands
        ("264", {"America/Anguilla"}),
    ],
)
def test_a_number_has_the_zones_of_its_whole_area_code_and_of_its_overlays(codes, zones):
    for code in codes.split():
        for exchange in ("201", "457", "982"):
            assert {*zones_of(f"+1{code}{exchange}0123")} == zones


def test_the_zones_of_a_number_contain_those_that_libphonenumber_has_for_its_exchange():
    for prefix, zones in timezone.TIMEZONE_DATA.items():
        number = phonenumbers.parse(f"+{prefix}2345678901"[:12]) if prefix[0] == "1" and len(prefix) > 3 else None
        if number and phonenumbers.is_valid_number(number):
            assert {*zones} <= {*zones_of(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))}


def test_every_zone_of_the_table_is_known_to_zoneinfo():
    assert {zone for code in range(200, 1000) for zone in zones_of(f"+1{code}2345678")} <= available_timezones()


@pytest.mark.parametrize("number", ["+1 212 976 1234", "+1 416 976 0000"])
def test_the_pay_per_call_exchange_is_premium_in_every_area_code(number):
    assert code_of(number, countries={"*"}) == "premium-number"


def test_a_toll_free_number_has_no_pay_per_call_exchange():
    assert dialable("+1 800 976 1234", countries={"US"}, types={"TOLL_FREE"}) == "+18009761234"


NEW = sorted(code for code in ("357", "436", "457", "471", "621", "679", "729", "837", "861") if not is_known(code))
"""Codes that were in service when this was written, without those that libphonenumber has learnt since."""


@pytest.mark.parametrize("code", NEW)
def test_a_new_area_code_is_dialled_when_the_operator_allows_it(code):
    number = f"+1{code}5550123"
    with pytest.raises(NumberRefused, match=f"add {code} to NEW_AREA_CODES"):
        dialable(number, countries={"US"}, types=USUAL)
    allowed = parse_new_codes([code])
    assert dialable(number, countries={"US"}, types=USUAL, new_codes=allowed) == number
    assert code_of_new(number, allowed, countries={"CA"}) == "country-not-allowed"
    assert code_of_new(f"+1{code}9760123", allowed) == "premium-number"
    assert code_of_new(f"+1{code}1550123", allowed) == "invalid-number"
    assert region_of(number, new_codes=allowed) == "US"
    assert 1 <= len(zones_of(number, new_codes=allowed)) <= 2


def code_of_new(text, new_codes, countries=("US",)):
    with pytest.raises(NumberRefused) as refused:
        dialable(text, countries=countries, types=USUAL, new_codes=new_codes)
    return refused.value.code


def test_a_new_area_code_shares_the_country_and_the_zones_of_the_code_that_is_named():
    allowed = parse_new_codes(["460=709"])
    assert dialable("+14605550123", countries={"CA"}, types=USUAL, new_codes=allowed) == "+14605550123"
    assert region_of("+14605550123", new_codes=allowed) == "CA"
    assert zones_of("+14605550123", new_codes=allowed) == zones_of("+17095550123")


def test_a_new_area_code_that_is_nowhere_known_may_be_anywhere():
    allowed = parse_new_codes(["460"])
    assert region_of("+14605550123", new_codes=allowed) == "US"
    assert zones_of("+14605550123", new_codes=allowed) == zones_of("+18005550123")


@pytest.mark.parametrize(
    "item",
    ["", "43", "4360", "436=", "436=460", "911", "900", "976", "800", "888", "881", "500", "521", "710", "370", "x"],
)
def test_a_code_that_cannot_serve_an_area_is_no_new_area_code(item):
    with pytest.raises(ValueError, match="area code"):
        parse_new_codes([item])


@pytest.mark.parametrize(
    ("code", "why"), [("876", "country-not-allowed"), ("900", "premium-number"), ("800", "number-type-not-allowed")]
)
def test_a_code_that_libphonenumber_knows_is_judged_by_libphonenumber(code, why):
    assert is_known(code)
    assert code_of_new(f"+1{code}5550123", {code: ""}) == why
