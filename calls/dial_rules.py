"""Decides which telephone numbers may be dialled, and finds their country and time zones. Pure."""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType
from phonenumbers import timezone as _timezone
from phonenumbers.tzdata import TIMEZONE_DATA

from calls import area_codes
from calls.number_forms import forms_of
from calls.numbers import NumberRefused, choose, invalid, read_number, readings, spelled_out

REGIONS = frozenset({*phonenumbers.SUPPORTED_REGIONS, "001"})
"""The country codes that settings may name. "001" stands for networks without a country, such as satellites."""
TYPES = frozenset(map(PhoneNumberType.to_string, PhoneNumberType.values())) - {"UNKNOWN", "PREMIUM_RATE"}
"""The number types that settings may name."""

NewCodes = Mapping[str, str]
"""New area codes of +1, as ``area_codes.parse_new_codes`` returns them."""
NONE_NEW: NewCodes = MappingProxyType({})
_LONGEST = 200  # characters of a text that is compared with emergency numbers
_SHORT_DIGITS = 6  # every international number is longer, and no emergency number is
_SERVICE = re.compile(r"[2-9]11")  # 211 to 911 of North America; no area code looks like this
_NATIONWIDE = frozenset({62})
"""
Country codes whose mobile numbers libphonenumber takes for those of a place, although they are not. In Indonesia it
does so for the sake of a few old ones: +62 8 would ring in Jakarta only.
"""
_PAY_PER_CALL = re.compile(r"\+1[2-9]\d\d976\d{4}")
"""The exchange of pay-per-call services within every area code of North America. Few are left."""


def dialable(text: str, *, countries: Collection[str], types: Collection[str], new_codes: NewCodes = NONE_NEW) -> str:
    """
    Return the number as E.164 if it may be dialled.

    ``countries`` are ISO codes, or "*" for all of them. Numbers without a country ("001": satellites, a favourite
    of toll fraud) must be named. ``types`` are names of ``PhoneNumberType``. Emergency and premium numbers are always
    refused. Raises ``NumberRefused``: ``emergency-number``, ``invalid-number``, ``premium-number``,
    ``country-not-allowed`` or ``number-type-not-allowed``.
    """
    _refuse_emergency_as_written(text, countries)
    read = readings(text)
    if any(map(_is_emergency, read)):
        raise _emergency()
    e164 = choose(read)
    number = _parse(e164)
    if phonenumbers.is_valid_number(number):
        kind, region = phonenumbers.number_type(number), phonenumbers.region_code_for_number(number)
    else:
        kind, region = PhoneNumberType.FIXED_LINE_OR_MOBILE, _region_of_new_code(e164, new_codes)
    if kind == PhoneNumberType.PREMIUM_RATE or (kind != PhoneNumberType.TOLL_FREE and _PAY_PER_CALL.fullmatch(e164)):
        raise NumberRefused("premium-number", "This is a premium-rate number. Such numbers are never dialled.")
    if region not in countries and ("*" not in countries or region == "001"):
        place = "a network without a country (001)" if region == "001" else region
        raise NumberRefused("country-not-allowed", f"This number belongs to {place}, where calls are not allowed.")
    if (name := PhoneNumberType.to_string(kind)) not in types:
        wanted = name.lower().replace("_", " ")
        raise NumberRefused("number-type-not-allowed", f"Numbers of this type ({wanted}) are not allowed.")
    return e164


def may_exist(e164: str) -> bool:
    """Whether a number exists in one of its forms, or has an area code that may be newer than the tables."""
    code = area_codes.area_code_of(e164)
    if code and not area_codes.is_known(code) and area_codes.may_serve_area(code):
        return True
    return any(map(_is_valid, forms_of(e164)))


def region_of(number: str, *, new_codes: NewCodes = NONE_NEW) -> str:
    """
    Return the ISO code of a number's country, or "001" for networks without a country.

    If several countries share the code (+1, +44, +7) and the number does not tell which one it is, the main one.
    Raises ``NumberRefused`` if the text is not a number.
    """
    e164 = read_number(number)
    parsed = _parse(e164)
    if other := new_codes.get(area_codes.area_code_of(e164), ""):
        return area_codes.region_of_code(other)
    return phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(
        parsed.country_code or 0
    )


def zones_of(number: str, *, new_codes: NewCodes = NONE_NEW) -> tuple[str, ...]:
    """
    Return the names of all time zones in which a number may ring. The result is never empty.

    A number of +1 has the zones of its whole area code and of all codes that share its area, a mobile one too. A mobile
    number of another country has all zones of its country code, unless it has an area code, as in Brazil. A toll-free
    number has all of its country code; so has one of +1 whose area code is not known: more than forty. A number without
    a country may ring anywhere, and no hour is decent everywhere: it gets UTC, and is dialled only if the operator has
    allowed "001". Raises ``NumberRefused`` if the text is not a number.
    """
    e164 = read_number(number)
    parsed = _parse(e164)
    code = area_codes.area_code_of(e164)
    if code and area_codes.may_serve_area(code):
        return area_codes.zones_of_code(new_codes.get(code) or code) or area_codes.all_zones()
    if parsed.country_code in _NATIONWIDE and phonenumbers.number_type(parsed) == PhoneNumberType.MOBILE:
        return TIMEZONE_DATA[str(parsed.country_code)]
    for found in (_timezone.time_zones_for_number(parsed), _timezone.time_zones_for_geographical_number(parsed)):
        if known := tuple(zone for zone in found if zone != _timezone.UNKNOWN_TIMEZONE):
            return known
    return ("UTC",)


def _is_valid(e164: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(e164))
    except phonenumbers.NumberParseException:
        return False


def _parse(e164: str) -> PhoneNumber:
    try:
        return phonenumbers.parse(e164)
    except phonenumbers.NumberParseException:
        raise invalid("No country has this country code. Check the digits after the +.") from None


def _region_of_new_code(e164: str, new_codes: NewCodes) -> str:
    """Return the country of a number whose area code is newer than libphonenumber's tables, and allowed."""
    code = area_codes.area_code_of(e164)
    if not code or area_codes.is_known(code) or not area_codes.may_serve_area(code):
        raise invalid("This telephone number does not exist. Check its digits.")
    if code not in new_codes:
        raise invalid(
            f"The area code {code} is not known here, so it is wrong or new. If it is in service, add {code} to "
            "NEW_AREA_CODES."
        )
    return area_codes.region_of_code(new_codes[code]) if new_codes[code] else "US"


def _refuse_emergency_as_written(text: str, countries: Collection[str]) -> None:
    # This comes before the number is read: a normalised emergency number may look like any other number.
    for written in dict.fromkeys((text.strip(), spelled_out(text))):
        if len(written) <= _LONGEST and _reaches_emergency(written, countries):
            raise _emergency()


def _is_emergency(number: str) -> bool:
    """Whether + and digits are an emergency number behind a country code, or a service number of North America."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    national = phonenumbers.national_significant_number(parsed)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(parsed.country_code or 0, ())
    if parsed.country_code == 1 and _SERVICE.match(national):
        return True
    return any(phonenumbers.is_emergency_number(national, region) for region in regions)


def _reaches_emergency(written: str, countries: Collection[str]) -> bool:
    """Whether dialling the text as it is written could reach an emergency service."""
    bare = written.lstrip("+ ")
    if sum(map(str.isdigit, bare)) <= _SHORT_DIGITS and any(
        phonenumbers.is_emergency_number(bare, region) for region in phonenumbers.SUPPORTED_SHORT_REGIONS
    ):
        return True
    # Without a country code, further digits do not keep an emergency number from being reached. Phones everywhere
    # know 911, 112 and 999.
    return not written.startswith("+") and any(
        phonenumbers.connects_to_emergency_number(bare, region) for region in {"US", "GB", *countries}
    )


def _emergency() -> NumberRefused:
    return NumberRefused("emergency-number", "This is an emergency or service number. Such numbers are never dialled.")
