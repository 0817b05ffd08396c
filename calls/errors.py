"""The errors of this package; all of them are ``CallsError``."""

from enum import StrEnum


class CallsError(Exception):
    """
    A request that cannot be carried out. The message is for the person who made it.

    ``permanent``: the same request would fail again. ``code`` is a word for programs, which never changes. ``field``
    names the part of the request that is wrong; it is empty where no single part is.
    """

    def __init__(self, message: str, *, permanent: bool = True, code: str = "invalid", field: str = "") -> None:
        super().__init__(message)
        self.permanent = permanent
        self.code = code
        self.field = field


class StorageUnavailableError(CallsError):
    """The store of recordings does not answer, or refuses what it should do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=False, code="storage-unavailable")


class FailureKind(StrEnum):
    """The kind of a failure at the carrier, which decides what the dialler does."""

    LATER = "later"
    """The request was not processed. Send it again after a while."""
    CAPACITY = "capacity"
    """The request was not processed because too many calls are live. Send it again once one of them has ended."""
    UNKNOWN = "unknown"
    """The request may have been carried out, or not."""
    NUMBER = "number"
    """This number can never be called."""
    CALLER_ID = "caller-id"
    """Calls from this caller id are refused until the operator changes something: the number, or its verification."""
    COUNTRY = "country"
    """Calls to this country are refused until the operator gives the account the permission."""
    CALL = "call"
    """This call is refused until the operator changes something. What is wrong need not concern any other."""
    SETTINGS = "settings"
    """Every call is refused until the operator changes a setting, such as the address of the callbacks."""
    ACCOUNT = "account"
    """The account cannot place any call. Stop dialling and tell the operator."""


_PERMANENT = (
    FailureKind.NUMBER, FailureKind.CALLER_ID, FailureKind.COUNTRY, FailureKind.CALL, FailureKind.SETTINGS,
)  # fmt: skip
"""The kinds for which the same request would fail again, unless somebody changes something."""


PAUSING = (
    FailureKind.CALLER_ID, FailureKind.COUNTRY, FailureKind.CALL, FailureKind.SETTINGS, FailureKind.ACCOUNT,
)  # fmt: skip
"""The kinds that say nothing about the person to be called. Such calls wait until somebody puts right what is wrong."""


class CarrierError(CallsError):
    """
    Twilio did not carry out a request, or it is not known whether it did. The message contains no secrets.

    ``twilio_code`` is Twilio's error code (None if it gave none), ``status`` the HTTP status (None without an answer),
    ``retry_after`` the number of seconds that Twilio asks to wait (None if it asks for nothing).
    """

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        twilio_code: int | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        permanent = kind in _PERMANENT
        super().__init__(message, permanent=permanent, code="carrier-failed")
        self.kind = kind
        self.twilio_code = twilio_code
        self.status = status
        self.retry_after = retry_after
