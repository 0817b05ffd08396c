"""The names and words that recognition should expect on the calls of an agent. Pure, but for the validator's error."""

import re

from django.core.exceptions import ValidationError

from calls.variables import placeholders

MOST_TERMS = 100
"""As many as hosted recognisers take: Deepgram's limit is 500 tokens for all of them."""
LONGEST_TERM = 50
"""Characters: a name or a short phrase. A sentence would make a recogniser hear it where nobody says it."""


def parse_keyterms(text: str) -> tuple[str, ...]:
    """Return the terms, each once, in their order. What is beyond the limits is left out: a variable may be long."""
    terms = (" ".join(term.split()) for term in re.split(r"[,\n]", text))
    return tuple(dict.fromkeys(term for term in terms if 0 < len(term) <= LONGEST_TERM))[:MOST_TERMS]


def are_keyterms(text: str) -> None:
    """Check the limits of what an operator has written."""
    terms = [" ".join(term.split()) for term in re.split(r"[,\n]", text)]
    if too_long := [term for term in terms if len(term) > LONGEST_TERM and not placeholders(term)]:
        raise ValidationError(f'"{too_long[0][:LONGEST_TERM]}…" is too long. A term has at most 50 characters.')
    if len(set(filter(None, terms))) > MOST_TERMS:
        raise ValidationError(f"Write at most {MOST_TERMS} terms.")
