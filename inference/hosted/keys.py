"""Takes the key of an account as an operator wrote it."""

from __future__ import annotations

from inference.types import EngineError


def checked_key(api_key: str) -> str:
    """
    Return the key without the blanks and line ends around it, which files and copying leave.

    Raises a permanent ``EngineError`` for one that cannot be sent in a header. The error does not quote it.
    """
    key = api_key.strip()
    if not all("!" <= character <= "~" for character in key):
        raise EngineError("the API key has characters that no key has: copy it again", permanent=True)
    return key
