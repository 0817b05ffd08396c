"""The languages of Deepgram's models, and which of them an utterance is recognised in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference.types import AUTO, Languages, main_language

MULTI = "multi"
"""In place of a language: the model recognises all that it knows, also within one sentence."""

NOVA_3 = frozenset(
    "ar be bg bn bs ca cs da da-DK de de-CH el en en-AU en-CA en-GB en-IN en-NZ en-US es es-419 et fa fi fr fr-CA he hi"
    " hr hu id it ja kn ko ko-KR lt lv mk mr ms nl nl-BE no pl pt pt-BR pt-PT ro ru sk sl sr sv sv-SE ta te th th-TH tl"
    " tr uk ur vi zh zh-CN zh-HK zh-Hans zh-Hant zh-TW".split()
)
"""The codes that Nova-3 takes, by Deepgram's announcements until November 2026. Its own list replaces them."""
NOVA_3_MULTI = frozenset(
    "af ar be bg bn bs ca cs da de el en es et fa fi fr gl gu he hi hr hu id it ja kn ko lt lv mk mr ms nl no pl pt ro"
    " ru sk sl sr sv ta te th tl tr uk vi xh zh zu".split()
)
"""The languages that Nova-3 tells apart with ``multi``."""
FLUX_MULTI = frozenset("de en es fr hi it ja nl pt ru".split())
"""The languages of ``flux-general-multi``."""
CODES: dict[str, frozenset[str]] = {
    "nova-3": NOVA_3,
    "nova-3-general": NOVA_3,
    "nova-3-medical": frozenset("en en-AU en-CA en-GB en-IE en-IN en-NZ en-US".split()),
    "flux-general-en": frozenset({"en"}),
    "flux-general-multi": FLUX_MULTI,
}
TOLD_APART: dict[str, frozenset[str]] = {
    "nova-3": NOVA_3_MULTI,
    "nova-3-general": NOVA_3_MULTI,
    "flux-general-multi": FLUX_MULTI,
}
"""The languages that a model tells apart. Any other model is not asked to."""
ALIASES = {"nb": "no", "nn": "no", "fil": "tl", "iw": "he", "in": "id"}
"""Other codes for the same languages."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for."""

    language: str
    """A code, or ``multi``."""
    hints: tuple[str, ...] = ()
    """With ``multi``: the languages that are likely."""

    @property
    def is_any(self) -> bool:
        return self.language == MULTI


class ModelLanguages:
    """The languages of one model. Its codes may be learnt from the service."""

    def __init__(self, model: str) -> None:
        self.codes: frozenset[str] | None = CODES.get(model)
        """None: not known."""
        self._told_apart = TOLD_APART.get(model, frozenset())

    @property
    def all(self) -> Languages:
        """As in ``SpeechToText.languages``."""
        if self.codes is None:
            return None
        known = {main_language(code) for code in self.codes if code != MULTI}
        return frozenset(known | self._told_apart | ({AUTO} if self._told_apart else set()))

    def learn(self, codes: Sequence[str]) -> None:
        """The service says that these are all."""
        if codes:
            self.codes = frozenset(codes)

    def choose(self, language: str, others: Sequence[str] = ()) -> Choice | None:
        """What to ask for to recognise this language, or one of ``others``; None if the model does not have it."""
        main = _main(language)
        if language in (AUTO, MULTI):
            return Choice(MULTI, self._hints(others)) if self._told_apart else None
        if main in self._told_apart and (hints := tuple(each for each in self._hints(others) if each != main)):
            return Choice(MULTI, (main, *hints))
        if self.codes is None:
            return Choice(language)
        by_name = {code.lower(): code for code in self.codes}
        for wanted in (language.replace("_", "-").lower(), main):
            if code := by_name.get(wanted):
                return Choice(code)
        regional = sorted(code for code in self.codes if main_language(code) == main)
        if regional:
            return Choice(regional[0])
        return Choice(MULTI, (main,)) if main in self._told_apart else None

    def _hints(self, languages: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(main for each in languages if (main := _main(each)) in self._told_apart))


def _main(language: str) -> str:
    main = main_language(language)
    return ALIASES.get(main, main)
