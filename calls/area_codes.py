"""
Area codes of +1: the time zones of each, and new ones that the operator allows. Pure.

A +1 number says its area code only: numbers move between exchanges and to mobile phones. All zones of the area code and
of the codes that share its area therefore count, whatever the exchange.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneMetadata
from phonenumbers.tzdata import TIMEZONE_DATA

_TABLE = Path(__file__).with_name("area_codes.csv")
_AREA_CODE = re.compile(
    r"(?!.(.)\1|37|96|88|456|5(?:2[13-9]|3[258]|4[2-79]|50|5[2-468]|69|78|89)|710|950|976)"  # these may not
    r"[2-9][0-8]\d"
)
"""
The codes that may serve an area. Codes with two equal digits at the end are services, toll-free or premium. Others are
reserved (N9N, 37N, 96N), toll-free (88N), personal (5YY), for inbound calls (456), of the US government (710), or
premium (950, 976): NANPA's NPA report, every code whose USE is not G.
"""
_COUNTRY = re.compile(r"\+1([2-9]\d\d)[2-9]\d{6}")


def area_code_of(number: str) -> str:
    """Return the area code of an E.164 number of +1; empty for any other number."""
    match = _COUNTRY.fullmatch(number)
    return match[1] if match else ""


def may_serve_area(code: str) -> bool:
    """Whether the code may be, or become, that of a place. Codes of services may not."""
    return bool(_AREA_CODE.fullmatch(code))


def parse_new_codes(items: Iterable[str]) -> Mapping[str, str]:
    """
    Read ``NEW_AREA_CODES``. Each item is a code such as ``436``, or ``436=440``: 436 serves the area of 440.

    Returns the codes, each with the code whose area it shares; empty if that is not known. Raises ``ValueError``.
    """
    codes: dict[str, str] = {}
    for item in items:
        code, equals, other = item.partition("=")
        if not may_serve_area(code):
            raise ValueError(f"{item!r} is not an area code of three digits, such as 436, that may serve an area.")
        if equals and not is_known(other):
            raise ValueError(f"{item!r}: {other!r} is not an area code that is in service.")
        codes[code] = other or next(filter(is_known, _overlays().get(code, ())), "")
    return codes


@lru_cache(maxsize=1024)
def is_known(code: str) -> bool:
    """Whether libphonenumber knows the area code, as that of a place or of a service."""
    if not re.fullmatch(r"[2-9]\d\d", code):
        return False
    if phonenumbers.is_valid_number(phonenumbers.parse(f"+1{code}2345678")):
        return True
    # The islands have few exchanges, but codes of their own.
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[1]
    leading = (PhoneMetadata.metadata_for_region(region, None) for region in regions)
    return any(one and one.leading_digits and re.fullmatch(one.leading_digits, code) for one in leading)


def region_of_code(code: str) -> str:
    """Return the ISO code of the country of an area code; US if the area is not known."""
    return phonenumbers.region_code_for_number(phonenumbers.parse(f"+1{code}2345678")) or "US"


@lru_cache(maxsize=1024)
def zones_of_code(code: str) -> tuple[str, ...]:
    """Return the zones of all exchanges of the area code and of the codes that share its area; empty if unknown."""
    codes = _overlays().get(code, (code,))
    zones = dict.fromkeys(zone for one in (code, *codes) for zone in _zones_by_code().get(one, ()))
    return tuple(zones)


def all_zones() -> tuple[str, ...]:
    """Return the zones of all area codes of +1."""
    return TIMEZONE_DATA["1"]


@lru_cache(maxsize=1)
def _overlays() -> Mapping[str, tuple[str, ...]]:
    """The codes that share an area, by each of them."""
    return {code: codes for codes, _zones in _rows() for code in codes}


@lru_cache(maxsize=1)
def _zones_by_code() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for prefix, zones in TIMEZONE_DATA.items():
        if prefix.startswith("1") and len(prefix) >= 4:
            found.setdefault(prefix[1:4], {}).update(dict.fromkeys(zones))
    for codes, zone in _rows():
        if zone:
            found.setdefault(codes[0], {})[zone] = None
    return {code: tuple(zones) for code, zones in found.items()}


def _rows() -> Iterable[tuple[tuple[str, ...], str]]:
    """The lines of the table: the codes, and the zone that libphonenumber lacks, if any."""
    lines = [line for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines, strict=True):
        yield tuple(row["codes"].split()), row["zones"]
