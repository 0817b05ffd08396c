"""Decides which telephone numbers may be dialled, and finds their country and time zones. Pure."""

import re
from collections.abc import Collection

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType
from phonenumbers import timezone as _timezone

from calls.errors import CallsError

REGIONS = frozenset({*phonenumbers.SUPPORTED_REGIONS, "001"})
"""The country codes that settings may name. "001" stands for networks without a country, such as satellites."""
TYPES = frozenset(map(PhoneNumberType.to_string, PhoneNumberType.values())) - {"UNKNOWN", "PREMIUM_RATE"}
"""The number types that settings may name."""

_WRITTEN = re.compile(r"\+[0-9 ().-]*")  # no letters, extensions, `tel:` or digits of other scripts
_LONGEST = 40  # characters: 15 digits with a separator each, and some more
_SHORT_DIGITS = 6  # every international number is longer, and no emergency number is
_SERVICE = re.compile(r"[2-9]11")  # 211 to 911 of North America; no area code looks like this


class NumberRefused(CallsError, ValueError):
    """A number must not be dialled. ``code`` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code)


def dialable(text: str, *, countries: Collection[str], types: Collection[str]) -> str:
    """
    Return the number as E.164 if it may be dialled.

    ``countries`` are ISO codes, or "*" for all of them. Numbers without a country ("001": satellites, a favourite
    of toll fraud) must be named. ``types`` are names of ``PhoneNumberType``. Emergency and premium numbers are always
    refused. Raises ``NumberRefused``: ``emergency-number``, ``invalid-number``, ``premium-number``,
    ``country-not-allowed`` or ``number-type-not-allowed``.
    """
    written = text.strip()
    # This comes first, and reads the text as written: a normalised emergency number may look like any other number.
    if len(written) <= _LONGEST and _reaches_emergency(written, countries):
        raise _emergency()
    number = _parse(written)
    national = phonenumbers.national_significant_number(number)
    local_regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(number.country_code or 0, ())
    if any(phonenumbers.is_emergency_number(national, region) for region in local_regions) or (
        number.country_code == 1 and _SERVICE.match(national)
    ):
        raise _emergency()
    if not phonenumbers.is_valid_number(number):
        raise _invalid("This telephone number does not exist. Check its digits.")
    kind = phonenumbers.number_type(number)
    if kind == PhoneNumberType.PREMIUM_RATE:
        raise NumberRefused("premium-number", "This is a premium-rate number. Such numbers are never dialled.")
    region = phonenumbers.region_code_for_number(number)
    if region not in countries and ("*" not in countries or region == "001"):
        place = "a network without a country (001)" if region == "001" else region
        raise NumberRefused("country-not-allowed", f"This number belongs to {place}, where calls are not allowed.")
    if (name := PhoneNumberType.to_string(kind)) not in types:
        wanted = name.lower().replace("_", " ")
        raise NumberRefused("number-type-not-allowed", f"Numbers of this type ({wanted}) are not allowed.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def region_of(number: str) -> str:
    """
    Return the ISO code of a number's country, or "001" for networks without a country.

    If several countries share the code (+1, +44, +7) and the number does not tell which one it is, the main one.
    Raises ``NumberRefused`` if the text is not a number.
    """
    parsed = _parse(number)
    return phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(
        parsed.country_code or 0
    )


def zones_of(number: str) -> tuple[str, ...]:
    """
    Return the names of all time zones in which a number may ring. The result is never empty.

    A mobile or toll-free number has all zones of its country code, which are more than forty in North America. A
    number without a country may ring anywhere, and no hour is decent everywhere: it gets UTC, and is dialled only if
    the operator has allowed "001". Raises ``NumberRefused`` if the text is not a number.
    """
    parsed = _parse(number)
    for zones in (_timezone.time_zones_for_number(parsed), _timezone.time_zones_for_geographical_number(parsed)):
        if known := tuple(zone for zone in zones if zone != _timezone.UNKNOWN_TIMEZONE):
            return known
    return ("UTC",)


def _parse(text: str) -> PhoneNumber:
    if len(text) <= _LONGEST and _WRITTEN.fullmatch(text):
        try:
            # Only digits, so that the parser does not read an extension or a second number into the punctuation.
            return phonenumbers.parse("+" + re.sub(r"[^0-9]", "", text))
        except phonenumbers.NumberParseException:
            pass
    raise _invalid("Write the number in international form, for example +1 212 555 0123.")


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


def _invalid(message: str) -> NumberRefused:
    return NumberRefused("invalid-number", message)
