"""Recognises e-mail and web addresses, and says them with the words that a language has for their signs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from media.spoken.spans import Match, Rule, rule, text_before

_TOP = frozenset(
    "com org net edu gov mil int info biz name pro mobi io co ai app dev tv uk ca de fr es eu nl ch be pt br"
    " mx jp cn ru se dk fi pl cz gr ie nz au za ly gg fm kr ar cl pe ve eu xyz store shop online site tech"
    " cloud live club blog news email agency studio design digital media group world global life today health"
    " care clinic dental doctor hotel travel restaurant bar cafe pizza food salon spa fitness law legal"
    " finance bank insurance school academy university support help center services solutions systems"
    " software network zone page link website web host space fun games team community church foundation"
    " museum events photo photography gallery art music video movie auto car cars rentals homes house land"
    " estate properties realty builders construction plumbing repair".split()
)
"""Top-level domains that make a name in small letters an address without "www."."""
_WORDS = frozenset("it in is to so us me at be no am my do as by".split())
"""Top-level domains that are English words: "done.in" may only lack a space. They need a path or a word before them."""
_BEFORE_ADDRESS = re.compile(r"\b(?:visit|website|site|at|on|see|page|to|via|is)\s$", re.I)

_LABEL = r"[A-Za-z0-9À-ɏ](?:[A-Za-z0-9À-ɏ-]{0,61}[A-Za-z0-9À-ɏ])?"
_HOST = rf"(?:{_LABEL}\.){{1,5}}"
_PATH = r"(?::\d{2,5})?(?:/[\w.~%+@:/-]*[\w/])?(?:\?[\w=&%.+-]*[\w=])?(?:#[\w-]*\w)?"

EMAIL = rf"(?<![\w.+-])(?:mailto:)?([\w+][\w.+-]{{0,63}}@{_HOST}[A-Za-z]{{2,24}})(?![\w@-])"
URL = rf"\b(?:https?|ftp)://[\w.~@:/?#%+=&-]{{1,300}}[\w/]|\bwww\.{_HOST}[A-Za-z]{{2,24}}{_PATH}"
DOMAIN = rf"(?<![\w@.+/-])({_HOST})([A-Za-z]{{2,24}}){_PATH}(?![\w@]|\.\w)"
NAME = r"(?<![\w@.+-])@?(?=\w*[^\W_])[^\W_]+(?:_+[^\W_]+)+(?![\w@-]|\.\w)"
_BEFORE_NAME = re.compile(
    r"\b(?:users?|user\s?names?|login|handle|nick(?:name)?|id|channel|folder|benutzer(?:name)?|nutzername|utilisateur"
    r"|identifiant|usuario|utente|usuário|gebruiker(?:snaam)?|skype|telegram|instagram|twitter)\b[^.!?]{0,24}$",
    re.I,
)
FILE = (
    r"(?<![\w.@/])[\w-]{1,64}"
    r"\.(?:pdf|docx?|xlsx?|pptx?|csv|txt|zip|jpe?g|png|gif|mp[34]|wav|html?|js|json|py|exe|xml)(?!\w)"
)


def _is_domain(match: Match) -> bool:
    """Whether this is an address, like "acme.store", or a full stop without a space, like "Done.It"."""
    top = match[2]
    if not any(map(str.isalpha, match[1])):
        return False
    if top.lower() in _WORDS:
        path = match.end(2) < match.end() and "/" in match[0]
        before = _BEFORE_ADDRESS.search(text_before(match))
        return top.islower() and bool(path or (before and match[1].islower()))
    return top.lower() in _TOP and (top.islower() or match[0].isupper() or top in ("Com", "Net", "Org"))


def _is_name(match: Match) -> bool:
    """Whether underscores are part of a name that somebody may type: a user, a handle, or one with digits."""
    has_digit = any(map(str.isdigit, match[0]))
    return match[0].startswith("@") or has_digit or _BEFORE_NAME.search(text_before(match)) is not None


def address_sayer(signs: Mapping[str, str], numbers: Callable[[str], str]) -> Callable[[Match], str]:
    """Says the address of a match. ``numbers`` says a run of digits."""

    def say(match: Match) -> str:
        text = re.sub(r"^(?:\w+://|mailto:)?(?:www\.)?|[?#].*$|/+$", "", match[0])
        pieces = re.findall(r"\d+|[^\W\d_]+|[\W_]", text)
        return " ".join(numbers(piece) if piece[0].isdigit() else signs.get(piece, piece) for piece in pieces)

    return say


def rules(say: Callable[[Match], str]) -> tuple[Rule, ...]:
    return (
        rule("e-mail", EMAIL, say, signs="@"),
        rule("web", URL, say, signs="./"),
        rule("web", DOMAIN, say, _is_domain, signs="."),
        rule("web", FILE, say, signs="."),
        rule("web", NAME, say, _is_name, signs="_"),
    )
