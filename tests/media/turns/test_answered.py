"""Who has answered an outbound call is told from the first words, and what follows from it: a table and some calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.answered import ANNOUNCEMENT_OVER, Answerer, is_hello, judge_words
from media.turns.lexicon import lexicon_of
from media.turns.options import ConversationOptions
from tests.media.turns.phone import SHORT, Engines, Phone
from tests.rows import each_row

TABLE = (Path(__file__).parent / "first_words.txt").read_text(encoding="utf-8")
CELLS = [[cell.strip() for cell in line.split("|")] for line in TABLE.splitlines() if not line.startswith("#")]
ROWS = [tuple(cells[:3]) for cells in CELLS]


@each_row(("who", "seconds", "text"), ROWS)
def test_the_first_words_tell_who_has_answered(who, seconds, text):
    kind = judge_words(text, lexicon_of("en"), monologue=float(seconds))
    assert kind == (None if who == "person" else Answerer(who))


@each_row(("who", "seconds", "text"), [row for row in ROWS if row[0] != "person"])
def test_capitals_and_marks_are_not_needed(who, seconds, text):
    if "[" in text:
        return
    plain = "".join(letter for letter in text.lower() if letter.isalnum() or letter in " '")
    assert judge_words(plain, lexicon_of("en"), monologue=float(seconds)) == Answerer(who)


@each_row("cut", range(1, 12))
@each_row("text", [row[2] for row in ROWS if row[0] == "person"])
def test_the_beginning_of_what_a_person_says_is_no_machine(text, cut):
    assert judge_words(" ".join(text.split()[:cut]), lexicon_of("en"), monologue=cut / 3) is None


OTHERS = (Path(__file__).parent / "announcements.txt").read_text(encoding="utf-8")
ANNOUNCEMENTS = [
    tuple(cells[:4])
    for cells in ([cell.strip() for cell in line.split("|")] for line in OTHERS.splitlines() if line[:1] != "#")
]


@each_row(("language", "who", "seconds", "text"), ANNOUNCEMENTS)
def test_the_announcements_of_other_languages_are_known(language, who, seconds, text):
    kind = judge_words(text, lexicon_of(language), monologue=float(seconds))
    assert kind == (None if who == "person" else Answerer(who))
    assert who == "person" or not is_hello(text, lexicon_of(language))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            "de",
            "Der Teilnehmer ist zurzeit nicht erreichbar. Bitte hinterlassen Sie eine Nachricht nach dem Signalton.",
        ),
        ("es", "Ha llamado al buzón de voz. Deje su mensaje después de la señal."),
        ("fr", "Vous êtes bien sur la messagerie de Paul, laissez un message après le bip."),
        ("it", "Segreteria telefonica. Lasciate un messaggio dopo il segnale acustico."),
        ("nl", "Dit is de voicemail van Jan. Spreek een bericht in na de piep."),
        ("pt", "Sua chamada está sendo encaminhada para a caixa postal. Deixe seu recado após o sinal."),
    ],
)
def test_the_usual_announcements_of_other_languages_are_known(language, text):
    assert judge_words(text, lexicon_of(language)) is Answerer.VOICEMAIL
    assert not is_hello(text, lexicon_of(language))


# --- What follows ------------------------------------------------------------------------------------------

OPTIONS = ConversationOptions(outbound=True, greeting="Hello, this is Ada from Acme. Do you have a minute?")
MESSAGE = "This is Ada from Acme. Please call us back."
ANNOUNCEMENT = "Hi, you've reached Anna. I can't come to the phone right now, please leave a message after the beep."
SCREENING = "Hi, if you record your name and reason for calling, I'll see if this person is available."


def answered(phone: Phone) -> list[str]:
    return [str(note.data["kind"]) for note in phone.notes("answered")]


def agent_said(phone: Phone) -> list[str]:
    return [text for speaker, text in phone.transcript if speaker == "agent"]


@pytest.mark.parametrize("language", ["de", "es", "fr", "it", "pt"])
def test_a_screening_assistant_is_answered_in_each_language_in_which_its_words_are_known(language):
    asked = [row[3] for row in ANNOUNCEMENTS if row[:2] == (language, "screening")]
    phone = Phone(replace(OPTIONS, language=language))
    phone.caller_says(asked[0], start=0.6, end=4.0)
    phone.wait_until(12.0)
    assert answered(phone) == ["screening"]
    assert agent_said(phone) == ["Hello, this is Ada from Acme."]


def test_a_message_is_left_when_the_announcement_is_over():
    phone = Phone(replace(OPTIONS, voicemail_message=MESSAGE))
    phone.caller_says(ANNOUNCEMENT, start=0.6, end=6.6)
    phone.wait_until(15.0)
    assert agent_said(phone) == [MESSAGE]
    assert phone.agent_turns[0] == pytest.approx(6.6 + ANNOUNCEMENT_OVER, abs=0.2)
    assert phone.hung_up == "voicemail"
    assert answered(phone) == ["voicemail"]
    assert "reached Anna" in str(phone.notes("answered")[0].data["text"])
    assert phone.sent(cmd.StartReply) == []


def test_an_announcement_with_a_pause_is_heard_to_its_end():
    phone = Phone(replace(OPTIONS, voicemail_message=MESSAGE))
    phone.caller_says("Hi, you've reached Anna.", start=0.6, end=1.8)
    phone.caller_says("I can't come to the phone.", start=2.8, end=4.0)
    phone.caller_says("Leave me a message after the beep.", start=5.2, end=6.8)
    phone.caller_makes_noise(start=7.8, end=8.3)
    phone.wait_until(16.0)
    assert agent_said(phone) == [MESSAGE]
    assert phone.agent_turns[0] > 8.3
    assert phone.hung_up == "voicemail"


def test_the_agent_hangs_up_on_an_announcement_without_a_message():
    phone = Phone(OPTIONS)
    phone.caller_says(ANNOUNCEMENT, start=0.6, end=6.6)
    phone.wait_until(15.0)
    assert agent_said(phone) == []
    assert phone.hung_up == "voicemail"


@pytest.mark.parametrize("callee_first", [0.0, 1.5])
def test_an_announcement_into_the_greeting_stops_it(callee_first):
    phone = Phone(replace(OPTIONS, callee_first=callee_first, voicemail_message=MESSAGE))
    phone.caller_says(ANNOUNCEMENT, start=callee_first + 0.5, end=callee_first + 6.5)
    phone.wait_until(16.0)
    assert agent_said(phone)[-1] == MESSAGE
    assert phone.sent(cmd.StartReply) == []
    assert phone.hung_up == "voicemail"


def test_an_agent_that_talks_to_machines_does():
    phone = Phone(replace(OPTIONS, talks_to_machines=True))
    phone.caller_says(ANNOUNCEMENT, start=0.6, end=6.6)
    phone.wait_until(12.0)
    assert OPTIONS.greeting in agent_said(phone)
    assert answered(phone) == ["voicemail"]


def test_the_finding_of_the_carrier_wins():
    phone = Phone(OPTIONS)
    phone.caller_says(ANNOUNCEMENT, start=0.6, end=6.6)
    phone.at(7.0, ev.VoicemailReached(MESSAGE))
    phone.wait_until(15.0)
    assert agent_said(phone) == [MESSAGE]
    assert phone.hung_up == "voicemail"


def test_a_menu_is_hung_up_on():
    phone = Phone(OPTIONS)
    phone.caller_says("Thank you for calling Acme. For sales, press 1. For support, press 2.", start=0.5, end=5.0)
    phone.wait_until(15.0)
    assert agent_said(phone) == []
    assert phone.hung_up == "menu"
    assert answered(phone) == ["menu"]


def test_an_assistant_is_told_who_is_calling_and_the_person_is_greeted():
    phone = Phone(OPTIONS)
    phone.caller_says(SCREENING, start=0.5, end=5.0)
    phone.caller_says("Thanks. Please stay on the line.", start=9.0, end=10.5)
    phone.caller_says("Hello?", start=20.0, end=20.4)
    phone.wait_until(26.0)
    assert agent_said(phone) == ["Hello, this is Ada from Acme.", OPTIONS.greeting]
    assert phone.agent_turns[0] == pytest.approx(5.0 + 0.8, abs=0.2)
    assert phone.agent_turns[-1] == pytest.approx(20.4 + 0.25, abs=0.2)
    assert answered(phone) == ["screening", "person"]
    assert phone.sent(cmd.StartReply) == []


def test_what_an_assistant_says_into_the_introduction_is_not_answered():
    phone = Phone(OPTIONS)
    phone.caller_says(SCREENING, start=0.5, end=5.0)
    phone.caller_says("Recording.", start=6.2, end=6.8)
    phone.wait_until(12.0)
    assert agent_said(phone) == ["Hello, this is Ada from Acme."]
    assert phone.sent(cmd.StartReply) == []


def test_an_assistant_that_takes_a_message_is_voicemail():
    phone = Phone(replace(OPTIONS, voicemail_message=MESSAGE))
    phone.caller_says(SCREENING, start=0.5, end=5.0)
    phone.caller_says("This person is not available. Please leave a message after the tone.", start=15.0, end=19.0)
    phone.wait_until(28.0)
    assert agent_said(phone) == ["Hello, this is Ada from Acme.", MESSAGE]
    assert answered(phone) == ["screening", "voicemail"]
    assert phone.hung_up == "voicemail"


@pytest.mark.parametrize(
    "words",
    [
        "You've reached Acme Dental, this is Julie speaking, how can I help you today?",
        "Hello hello yes I'm here sorry I had to run to the phone and now the dog is barking",
        "He's not here, do you want to leave a message?",
    ],
)
def test_a_person_with_a_long_hello_is_talked_to(words):
    phone = Phone(replace(OPTIONS, voicemail_message=MESSAGE), Engines(replies=[SHORT]))
    phone.caller_says(words, start=0.5, end=5.0)
    phone.caller_says("Sure, go ahead.", start=10.0, end=11.0)
    phone.wait_until(14.0)
    assert agent_said(phone)[0] == OPTIONS.greeting
    assert SHORT in agent_said(phone)
    assert answered(phone) == ["person"]


def test_a_person_who_speaks_of_messages_later_is_no_machine():
    phone = Phone(OPTIONS, Engines(replies=[SHORT]))
    phone.caller_says("Hello?", start=0.5, end=0.9)
    phone.caller_says("Yes, I have a minute.", start=4.5, end=5.5)
    phone.caller_says("Please leave a message after the tone, it says.", start=8.5, end=10.0)
    phone.wait_until(14.0)
    assert phone.hung_up is None
    assert answered(phone) == ["person"]


def test_the_agents_own_words_from_a_loudspeaker_are_no_machine():
    greeting = "Hello, this is Ada. Press one for sales, or press two to leave a message after the tone."
    phone = Phone(replace(OPTIONS, greeting=greeting))
    phone.caller_says(greeting, start=1.8, end=5.3)
    phone.wait_until(9.0)
    assert agent_said(phone) == [greeting]
    assert answered(phone) == []
    assert phone.hung_up is None


def test_a_silent_line_is_nobody():
    phone = Phone(OPTIONS).wait_until(25.0)
    assert answered(phone) == ["nobody"]
    assert phone.hung_up == "silence" or OPTIONS.still_there in agent_said(phone)


def test_an_inbound_caller_is_not_judged():
    phone = Phone(replace(OPTIONS, outbound=False))
    phone.caller_says(ANNOUNCEMENT, start=3.0, end=8.0)
    phone.wait_until(14.0)
    assert answered(phone) == []
    assert phone.hung_up is None
