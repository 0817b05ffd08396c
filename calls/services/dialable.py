"""May a number be dialled at all, by the settings and the do-not-call list?"""

from django.conf import settings

from calls import numbers
from calls.errors import CallsError


def dialable(text: str, *, field: str) -> str:
    """``text`` in E.164, if it is a number that the settings allow to dial. Raises ``CallsError``."""
    try:
        return numbers.dialable(text, countries=settings.DIAL_COUNTRIES, types=settings.DIAL_NUMBER_TYPES)
    except numbers.NumberRefused as error:
        raise CallsError(str(error), code=error.code, field=field) from error
