"""What the engines and the phrases of this process have for a language."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache

from django.conf import settings

from calls.services import LanguageReport
from inference.backends import make_engine
from inference.interfaces import SpeechToText, TextToSpeech
from inference.types import AUTO, EngineError, Languages, has_language
from media import runtime
from media.agent_options import missing_phrases

logger = logging.getLogger(__name__)

MOST_NAMED = 12
"""Languages that a message names: an engine with more has nearly all of them, and the list would hide the rest."""
_ADVICE = {
    "stt": "Choose another recogniser, such as ENGINES_PROFILE=cpu with WHISPER_MODEL=small.",
    "tts": "Choose another voice, such as eSpeak NG: docs/languages.md says how.",
}
_WHAT = {"stt": "recogniser", "tts": "voice"}


def judge_language(language: str) -> LanguageReport:
    """Say what is missing for an agent of this language in this process."""
    problems, unknown = [], []
    for alias, what in _WHAT.items():
        engine = _engine(alias)
        languages = engine.languages if engine is not None else None
        backend = settings.ENGINES[alias]["BACKEND"].rpartition(".")[2]
        match has_language(languages, language):
            case False:
                problems.append(f"The {what} ({backend}) has {_in_words(languages)}. {_ADVICE[alias]}")
            case None:
                unknown.append(f"Whether the {what} ({backend}) has the language is known only when it runs.")
    problems += _phrase_problems(language)
    return LanguageReport(tuple(problems), tuple(unknown))


def judge_changes() -> LanguageReport:
    """Say what is missing in this process to notice that a caller changes to another language."""
    engine = _engine("stt")
    backend = settings.ENGINES["stt"]["BACKEND"].rpartition(".")[2]
    match has_language(engine.languages if engine is not None else None, AUTO):
        case False:
            return LanguageReport((f"The recogniser ({backend}) cannot tell languages apart. {_ADVICE['stt']}",))
        case None:
            return LanguageReport(
                unknown=(f"Whether the recogniser ({backend}) tells languages apart is known only when it runs.",)
            )
        case _:
            return LanguageReport()


def _phrase_problems(language: str) -> Iterator[str]:
    if missing := missing_phrases(language):
        yield (
            f"There are no stock phrases in this language, so the agent would say English ones in a foreign voice. "
            f'Give them in CONVERSATION under "{language.lower()}": {", ".join(missing)}.'
        )


def _in_words(languages: Languages) -> str:
    codes = sorted(languages or ())
    more = f" and {len(codes) - MOST_NAMED} others" if len(codes) > MOST_NAMED else ""
    return f"only {', '.join(codes[:MOST_NAMED])}{more}" if codes else "no language"


def _engine(alias: str) -> SpeechToText | TextToSpeech | None:
    """Return the engine of this process, which knows most, or one that is not started."""
    engines = runtime.running_engines()
    if engines is not None:
        return engines.stt if alias == "stt" else engines.tts
    return _unstarted(alias, repr(settings.ENGINES[alias]))


@cache
def _unstarted(alias: str, setting: str) -> SpeechToText | TextToSpeech | None:
    try:
        engine: SpeechToText | TextToSpeech = make_engine(alias, settings.ENGINES[alias])
    except EngineError as error:
        # The start of the engines reports it; here it only means that the languages are not known.
        logger.info("The languages of ENGINES[%r] are not known: %s", alias, error)
        return None
    return engine
