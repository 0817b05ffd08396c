"""What can be wrong with what is asked of the records."""


class CallsError(Exception):
    """
    A write that makes no sense. ``permanent``: trying again is useless.

    ``code`` is a word that stays the same, for programs; ``field`` names what of the request is wrong.
    """

    def __init__(self, message: str, *, permanent: bool = True, code: str = "invalid", field: str = "") -> None:
        super().__init__(message)
        self.permanent = permanent
        self.code = code
        self.field = field
