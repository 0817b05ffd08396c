"""The numbers that may be dialled, and those that may not."""

import re
from zoneinfo import available_timezones

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import timezone

from calls.numbers import REGIONS, TYPES, NumberRefused, dialable, region_of, zones_of

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
    ["+12125550123", "+1 212 555 0123", "+1 (212) 555-0123", " +1.212.555.0123\n", "+ 1-212-555-0123"],
)
def test_a_number_becomes_e164_however_it_is_written(text):
    assert dialable(text, countries={"US"}, types=USUAL) == "+12125550123"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+44 (0)20 7946 0018", "+442079460018"),  # the zero in brackets is dialled within the country only
        ("+39 06 1234 5678", "+390612345678"),  # Italy's zero is part of the number
        ("+33 1 12 34 56 78", "+33112345678"),  # contains 112, which is not an emergency call here
    ],
)
def test_national_ways_to_write_a_number_are_understood(text, number):
    assert dialable(text, countries={"*"}, types=USUAL) == number


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
        "tel:+12125550123",
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
        "＋12125550123",
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


numberish = st.text(st.sampled_from("+0123456789 ()-.x#;,*/٣９\x00\n")) | st.from_regex(r"\A\+?[0-9]{1,17}\Z")


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
