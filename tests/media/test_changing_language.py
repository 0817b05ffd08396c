"""A caller changes language on a whole call: recognition, the language model, the voice and the record follow."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from calls.services import facts
from inference.backends import Engines
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from inference.engines.whisper import FasterWhisperSpeechToText
from inference.types import EngineError, Message
from inference.whisper.options import WhisperOptions
from media.agent_options import conversation_options
from media.reply import render
from media.speaking import _line_messages
from media.turns.commands import Line, Spoken
from tests.media.scripted_call import run_call

HOURS = "Guten Tag, ich wollte fragen, wann Sie am Samstag geöffnet haben."
SUNDAY = "Und haben Sie auch am Sonntagnachmittag geöffnet?"
PRICE = "Was kostet der Eintritt?"
QUESTION = "Hello, I would like to know what it costs to get in on a Saturday."
SECOND_QUESTION = "Sorry, I mean, what does a ticket cost for the two of us?"
AGAIN = "And can you tell me how long you are open on Sundays, please?"
SPANISH = (
    "Buenos días, quería saber a qué hora abren ustedes los sábados por la mañana.",
    "¿Y cuánto cuesta la entrada para dos personas?",
    "Quisiera reservar una mesa para cuatro personas el viernes por la noche.",
)
"""Sentences that Whisper base recognises in eSpeak's voice. Of eSpeak's German, it recognises a third of the words."""
VOICES = {"de": "anna"}
ONE, TWO = "(This is German. Answer in English.) ", "(From here on, answer in German.) "


@cache
def foreign(text: str, language: str = "de") -> bytes:
    """The text in eSpeak's voice for the language, as mu-law."""

    async def speak() -> bytes:
        tts = EspeakTextToSpeech()
        await tts.start()
        try:
            return await render(text, tts=tts, voice="", language=language)
        finally:
            await tts.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(speak())).result()


class Listening(ScriptedSpeechToText):
    """Keeps the languages with which each utterance was opened."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.opened: list[tuple[str, tuple[str, ...]]] = []

    def open(self, **options: Any) -> Any:
        self.opened.append((options["language"], tuple(options["others"])))
        return super().open(**options)


class Speaking(ScriptedTextToSpeech):
    """Keeps the voices with which it was opened; ``lacks`` a language."""

    lacks = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.opened: list[tuple[str, str]] = []

    def open(self, **options: Any) -> Any:
        if options["language"] == self.lacks:
            raise EngineError("no such voice", permanent=True)
        self.opened.append((options["voice"], options["language"]))
        return super().open()


class Reading(ScriptedLanguageModel):
    """Keeps the messages of each reply."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.read: list[list[Message]] = []

    def stream(self, messages: Sequence[Message], **options: Any) -> Any:
        self.read.append(list(messages))
        return super().stream(messages, **options)


def options(*others: str, **changed: Any):
    made = conversation_options(language="en", speculate=True)
    return replace(made, others=tuple(conversation_options(language=other) for other in others), **changed)


class Call:
    """A call on which the caller says three sentences; recognition finds these languages in them."""

    def __init__(self, found: Sequence[str], *, others: Sequence[str] = ("de",), lacks: str = "", **claim: Any) -> None:
        says = [HOURS, SUNDAY, PRICE]
        self.stt = Listening(transcripts=says, found=found)
        self.llm, self.tts = Reading(replies=["We open at nine."]), Speaking()
        self.tts.lacks = lacks
        self.result = run_call(
            [(0.5 + 8 * at, text) for at, text in enumerate(says)],
            seconds=25.0,
            options=options(*others),
            served_by=Engines(self.stt, self.llm, self.tts),
            # A pause at a comma may end an utterance, and the script has the words of whole sentences.
            said_by=lambda text: foreign(text.replace(",", "")),
            claim={"agent": {"other_languages": {other: VOICES.get(other, "") for other in others}, **claim}},
        )

    @property
    def noted(self) -> list[tuple[str, str]]:
        changes = [("changed", fact.language) for fact in self.result.facts.of(facts.LanguageChanged)]
        events = self.result.facts.of(facts.EventNoted)
        return changes + [("noticed", fact.data["language"]) for fact in events if fact.kind == "language-noticed"]


def test_recognition_the_voice_the_model_and_the_record_follow_the_caller():
    call = Call(["de"])
    assert call.noted == [("changed", "de")]
    assert call.stt.opened[:2] == [("en", ("de",))] * 2
    assert call.stt.opened[-1] == ("de", ("en",))
    assert call.tts.opened[-2:] == [("", "en"), ("anna", "de")]
    said = [message.content for message in call.llm.read[-1] if message.role == "user"]
    assert said == [ONE + HOURS, TWO + SUNDAY, PRICE]
    # What was said goes on record as it was said.
    assert [words for speaker, words in call.result.turns if speaker == "caller"] == [HOURS, SUNDAY, PRICE]
    assert call.result.tasks_left == 0


def test_the_prompt_is_only_added_to():
    call = Call(["de"])
    for before, after in zip(call.llm.read, call.llm.read[1:], strict=False):
        # The last words of the caller are not settled while they may go on.
        assert after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize("found", [["de", "en", "de"], [""], ["en"]])
def test_without_two_turns_in_succession_everything_stays(found):
    call = Call(found)
    assert call.noted == []
    assert {language for language, _ in call.stt.opened} == {"en"}
    assert call.tts.opened[-1] == ("", "en")


def test_an_agent_without_other_languages_has_none_looked_for_and_notes_what_it_is_told():
    call = Call(["de"], others=())
    assert call.noted == [("noticed", "de")]
    assert set(call.stt.opened) == {("en", ())}
    assert [message.content for message in call.llm.read[-1] if message.role == "user"] == [HOURS, SUNDAY, PRICE]


def test_a_voice_that_turns_out_to_lack_the_language_goes_on_in_the_one_before(caplog):
    call = Call(["de"], lacks="de")
    assert "the voice does not speak de, going on in en" in caplog.text
    assert call.tts.opened[-1] == ("", "en")
    assert [words for speaker, words in call.result.turns if speaker == "agent"] == ["We open at nine."] * 3


@pytest.mark.parametrize(
    ("spoken", "note"),
    [
        (Spoken("de", "en"), "(This is German. Answer in English.) "),
        (Spoken("pt", "pt-BR"), "(From here on, answer in Portuguese.) "),
        (Spoken("", "de"), "(From here on, answer in German.) "),
        (Spoken("xx", "xx"), "(From here on, answer in xx.) "),
        (Spoken(), ""),
    ],
)
def test_the_model_is_told_before_the_callers_words(spoken, note):
    assert list(_line_messages(Line("caller", "Ja.", spoken=spoken))) == [Message("user", f"{note}Ja.")]


# --- With real recognition -----------------------------------------------------------------------------------


class Immediate(FasterWhisperSpeechToText):
    """Recognises without a thread, so that it takes no virtual time."""

    def _run(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(function())
        return done

    async def close(self) -> None:
        self._thread = None
        await super().close()


def real_call(folder, says: Sequence[tuple[str, str]]):
    """A call with Whisper base, on which synthetic voices say each sentence in its language."""
    spoken = {text: foreign(text, language) for language, text in says}
    llm, tts = Reading(replies=["We open at nine."]), Speaking()
    stt = Immediate(WhisperOptions(model=str(folder / "base"), device="cpu", cpu_threads=1, partials=False))
    result = run_call(
        [(0.5 + 9 * at, text) for at, (_, text) in enumerate(says)],
        seconds=1.0 + 9 * len(says),
        options=options("de", "es"),
        served_by=Engines(stt, llm, tts),
        said_by=spoken.__getitem__,
        claim={"agent": {"other_languages": {"de": "", "es": ""}}},
    )
    return result, tts


@pytest.mark.weights
def test_whisper_notices_a_synthetic_caller_who_changes_to_spanish_and_back(models_dir):
    if not (models_dir / "base").is_dir():
        pytest.skip("the folder of the models has no base")
    says = [("en", QUESTION), *(("es", text) for text in SPANISH), ("en", SECOND_QUESTION), ("en", AGAIN)]
    result, tts = real_call(models_dir, says)
    assert [fact.language for fact in result.facts.of(facts.LanguageChanged)] == ["es", "en"]
    heard = " ".join(words for speaker, words in result.turns if speaker == "caller")
    # The first Spanish turn is recognised in Spanish already, and the last English one in English.
    assert {"Buenos", "please"} <= set(re.findall(r"\w+", heard))
    assert [language for _, language in tts.opened[-3:]] == ["en", "es", "en"]


@pytest.mark.weights
def test_whisper_changes_nothing_for_one_turn_or_a_short_hello(models_dir):
    if not (models_dir / "base").is_dir():
        pytest.skip("the folder of the models has no base")
    says = [("es", "¡Hola!"), ("en", QUESTION), ("es", SPANISH[0]), ("en", AGAIN)]
    result, _ = real_call(models_dir, says)
    assert result.facts.of(facts.LanguageChanged) == []
    assert len([speaker for speaker, _ in result.turns if speaker == "caller"]) >= 3
