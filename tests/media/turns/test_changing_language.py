"""A caller who speaks another language for two turns is answered in it, if the agent may; less changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.changing_language import SURE
from media.turns.commands import AS_BEFORE, Spoken
from media.turns.options import ConversationOptions
from media.turns.stock_phrases import stock_phrases
from tests.media.turns.phone import SHORT, Engines, Phone

GERMAN = ConversationOptions(language="de", **stock_phrases("de"))
SPANISH = ConversationOptions(language="es-MX", **stock_phrases("es"))
OPTIONS = ConversationOptions(others=(GERMAN, SPANISH))
ONLY_ENGLISH = ConversationOptions()

HOURS = "Guten Tag, wann haben Sie denn geöffnet?"
SUNDAY = "Und haben Sie auch am Sonntag offen?"
PRICE = "Was kostet denn der Eintritt?"
ENGLISH = "And what does it cost to get in?"
AGAIN = "How late are you open on Sundays?"
SPOKEN = Spoken("de", "de")
NOT_YET = Spoken("de", "en")


def languages(**found: tuple[str, float]):
    """Recognition that is sure of German and English, and finds what a test says for the other words."""
    known = dict.fromkeys((HOURS, SUNDAY, PRICE), ("de", 0.97)) | dict.fromkeys((ENGLISH, AGAIN), ("en", 0.97))
    named = {name.replace("_", " "): language for name, language in found.items()}
    return lambda text: {**known, **named}.get(text, ("", 0.0))


def call(*says: str, options: ConversationOptions = OPTIONS, seconds: float = 2.0, **found: tuple[str, float]) -> Phone:
    """A call on which the caller says these sentences, each after the agent's answer to the one before."""
    phone = Phone(options, Engines(replies=[SHORT], language_of=languages(**found)))
    for number, text in enumerate(says):
        phone.caller_says(text, start=1.0 + 5 * number, end=1.0 + seconds + 5 * number)
    return phone.wait_until(1.0 + 5 * len(says))


def changes(phone: Phone) -> list[str]:
    return [change.language for change in phone.sent(cmd.ChangeLanguage)]


def told(phone: Phone) -> list[Spoken]:
    """What the language model is told of the languages, with each line of the caller's."""
    return [line.spoken for line in phone.conversation.control.history.lines if line.speaker == "caller"]


def test_a_caller_who_speaks_another_language_for_two_turns_is_answered_in_it():
    phone = call(HOURS, SUNDAY, PRICE)
    assert changes(phone) == ["de"]
    assert told(phone) == [NOT_YET, SPOKEN, AS_BEFORE]
    # The reply to the second turn is already in German: the change comes before it.
    kinds = [type(command) for _, command in phone.commands]
    second = [at for at, kind in enumerate(kinds) if kind is cmd.StartReply][1]
    assert kinds.index(cmd.ChangeLanguage) < second
    assert phone.sent(cmd.StartReply)[1].history[-1] == cmd.Line("caller", SUNDAY, spoken=SPOKEN)


def test_a_reply_in_the_wrong_language_is_not_begun_early():
    phone = call(HOURS, SUNDAY, PRICE)
    assert [turn.speculation_hit for turn in phone.turns if turn.speaker == "caller"] == [True, False, True]
    assert [reply.speculative for reply in phone.sent(cmd.StartReply)] == [True, False, True]
    assert phone.stopped == set()


def test_a_reply_begun_before_the_language_was_found_is_not_said():
    phone = Phone(replace(OPTIONS, begin_early=True), Engines(replies=[SHORT], language_of=languages()))
    for number, text in enumerate((HOURS, SUNDAY)):
        phone.caller_says(text, start=1.0 + 5 * number, end=3.0 + 5 * number)
        phone.at(2.9 + 5 * number, ev.TranscriptPartial(number + 1, text, settled=True))
    phone.wait_until(11.0)
    assert [reply.early for reply in phone.sent(cmd.StartReply)] == [True, False, True, False]
    said = [reply.history[-1].spoken for reply in phone.sent(cmd.StartReply) if reply.revision not in phone.stopped]
    assert said == [NOT_YET, SPOKEN]


def test_one_turn_changes_nothing():
    phone = call(HOURS, ENGLISH)
    assert changes(phone) == []
    assert told(phone) == [NOT_YET, AS_BEFORE]
    assert phone.notes("language-noticed") == []


def test_a_caller_who_goes_on_before_the_answer_has_had_one_turn():
    phone = Phone(OPTIONS, Engines(replies=[SHORT], language_of=languages(), first_token=0.6))
    phone.caller_says(HOURS, start=1.0, end=3.0)
    phone.caller_says(SUNDAY, start=3.5, end=5.0)
    phone.wait_until(9.0)
    assert [text for speaker, text in phone.transcript if speaker == "caller"] == [HOURS, SUNDAY]
    assert changes(phone) == []
    phone.caller_says(PRICE, start=10.0, end=12.0)
    phone.wait_until(16.0)
    assert changes(phone) == ["de"]
    assert told(phone) == [NOT_YET, SPOKEN]


def test_the_turns_must_come_in_succession_and_be_in_the_same_language():
    assert changes(call(HOURS, ENGLISH, SUNDAY)) == []
    spanish = {"¿A_qué_hora_abren?": ("es", 0.99)}
    assert changes(call(HOURS, "¿A qué hora abren?", SUNDAY, **spanish)) == []


@pytest.mark.parametrize("short", ["Hola.", "Hola, sí."])
def test_short_words_change_nothing_however_often(short):
    phone = call(short, short, short, seconds=0.6, **{short.replace(" ", "_"): ("es", 0.99)})
    assert changes(phone) == []
    assert told(phone) == [AS_BEFORE] * 3


def test_a_language_of_which_recognition_is_not_sure_counts_for_nothing():
    perhaps = "Ich weiß nicht"
    unsure = {perhaps.replace(" ", "_"): ("de", SURE - 0.01)}
    assert changes(call(perhaps, perhaps, perhaps, **unsure)) == []
    # Nor does it count for the agent's own language.
    phone = call(HOURS, perhaps, SUNDAY, **unsure)
    assert changes(phone) == ["de"]
    assert told(phone) == [NOT_YET, AS_BEFORE, SPOKEN]


def test_the_way_back_takes_two_turns_too():
    phone = call(HOURS, SUNDAY, ENGLISH, PRICE)
    assert changes(phone) == ["de"]
    assert told(phone) == [NOT_YET, SPOKEN, Spoken("en", "de"), AS_BEFORE]
    phone = call(HOURS, SUNDAY, ENGLISH, AGAIN, ENGLISH)
    assert changes(phone) == ["de", "en"]
    assert told(phone) == [NOT_YET, SPOKEN, Spoken("en", "de"), Spoken("en", "en"), AS_BEFORE]


def test_the_agent_takes_the_region_that_it_knows():
    first, second = "¿A qué hora abren ustedes?", "¿Y los domingos también?"
    spanish = {text.replace(" ", "_"): ("es", 0.99) for text in (first, second)}
    phone = call(first, second, **spanish)
    assert changes(phone) == ["es-MX"]
    assert told(phone) == [Spoken("es", "en"), Spoken("es", "es-MX")]


@pytest.mark.parametrize("options", [ONLY_ENGLISH, ConversationOptions(others=(SPANISH,))])
def test_a_language_that_the_agent_may_not_speak_is_noted_once(options):
    phone = call(HOURS, SUNDAY, PRICE, HOURS, options=options)
    assert changes(phone) == []
    assert told(phone) == [AS_BEFORE] * 4
    assert [note.data for note in phone.notes("language-noticed")] == [{"language": "de"}]


def test_nothing_is_noted_where_recognition_tells_no_language():
    phone = call(*["I would like to book a room."] * 3)
    assert (changes(phone), phone.notes("language-noticed"), told(phone)) == ([], [], [AS_BEFORE] * 3)


def spoken_lines(phone: Phone) -> list[str]:
    return [line.text for line in phone.sent(cmd.SayLine)]


def test_from_then_on_the_stock_phrases_are_those_of_the_language():
    phone = call(HOURS, SUNDAY)
    phone.wait_until(40.0)
    assert spoken_lines(phone) == [GERMAN.still_there, GERMAN.silence_goodbye]


def test_the_end_of_the_call_by_an_operator_is_announced_in_the_language():
    phone = call(HOURS, SUNDAY)
    phone.receive(ev.EndRequested("operator"))
    phone.wait_until(phone.now + 10.0)
    assert spoken_lines(phone) == [GERMAN.goodbye]


def test_the_time_limit_is_announced_in_the_language():
    phone = call(HOURS, SUNDAY, options=replace(OPTIONS, max_duration=40.0, still_there_after=100.0))
    phone.wait_until(60.0)
    assert spoken_lines(phone) == [GERMAN.warning, GERMAN.time_up]


def test_slow_engines_are_bridged_in_the_language():
    phone = call(HOURS, SUNDAY)
    phone.engines.first_token = 5.0
    phone.caller_says(PRICE, start=phone.now + 1.0, end=phone.now + 3.0)
    phone.wait_until(phone.now + 6.0)
    assert spoken_lines(phone)[0] == GERMAN.fillers[0]


@pytest.mark.parametrize(("says", "stops"), [((HOURS, SUNDAY), False), ((ENGLISH, AGAIN), True)])
def test_words_over_the_agent_are_understood_in_the_language(says, stops):
    phone = call(*says)
    phone.engines.replies = [
        "Wir haben jeden Tag von neun bis achtzehn Uhr geöffnet, auch am Sonntag und an Feiertagen."
    ]
    start = phone.now
    phone.caller_says(says[0], start=start + 0.5, end=start + 2.0)
    phone.caller_says("Ja, genau.", start=start + 4.0, end=start + 4.6)
    phone.wait_until(start + 8.0)
    assert bool(phone.notes("interruption")) is stops


def test_the_wait_after_words_is_that_of_the_language():
    """ "was" does not end an English sentence, but a German one."""
    text = "Und der Eintritt kostet noch mal was"
    waits = []
    for says in ((HOURS, SUNDAY), (ENGLISH, AGAIN)):
        phone = call(*says)
        phone.caller_says(text, start=phone.now + 1.0, end=phone.now + 3.0)
        phone.wait_until(phone.now + 6.0)
        waits.append(next(turn.wait for turn in phone.turns if turn.said == text))
    assert waits[0] < waits[1]


def test_english_rules_judge_demands_not_to_be_called_only_while_english_is_spoken():
    demand = "Please take me off your list and never call me again"
    phone = call(HOURS, SUNDAY)
    phone.caller_says(demand, start=phone.now + 1.0, end=phone.now + 4.0)
    phone.wait_until(phone.now + 8.0)
    assert phone.sent(cmd.OptOut) == []
    phone = call(HOURS, SUNDAY, ENGLISH, AGAIN)
    phone.caller_says(demand, start=phone.now + 1.0, end=phone.now + 4.0)
    phone.wait_until(phone.now + 8.0)
    assert [opt_out.how for opt_out in phone.sent(cmd.OptOut)] == ["asked"]


def test_a_later_stream_of_the_call_goes_on_in_the_language():
    resumed = replace(GERMAN, others=(ONLY_ENGLISH,), changed=True)
    phone = Phone(resumed, Engines(replies=[SHORT], language_of=languages()), start=False)
    phone.receive(ev.CallStarted(resumed=True))
    for start, text in ((6.0, PRICE), (12.0, ENGLISH), (18.0, AGAIN)):
        phone.caller_says(text, start=start, end=start + 2.0)
    phone.wait_until(22.0)
    assert spoken_lines(phone) == [GERMAN.resumed]
    assert told(phone) == [Spoken("", "de"), Spoken("en", "de"), Spoken("en", "en")]
    assert changes(phone) == ["en"]
