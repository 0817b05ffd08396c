"""What the caller's words do, line by line, and what the public reports of other agents say that they should do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turns.labels import SILENT, AgentSpeech, Label, label_words
from media.turns.lexicon import KINDS, OPENINGS, TABLES, lexicon_of, read_lexicon, words_of
from tests.rows import each_row

ENGLISH = lexicon_of("en")
STATEMENT = AgentSpeech("Your appointment is on Tuesday at ten", coming=", and we will send you a reminder.")
ASKED = AgentSpeech("We have a table at eight. Shall I book it?", asked=True)
ABOUT_TO_ASK = AgentSpeech("We have a table at eight.", coming="Shall I book it?")
NAMED = AgentSpeech("Good morning, this is Anna of the harbour clinic. How can", coming="I help you today?")
GOODBYE = AgentSpeech("Thank you for calling. Goodbye.", leaving=True)

LINES = """
    murmur          mm-hm; Mm-hmm.; uh huh; right, right; right right right; I see; haha; oh; hmmmmm; really?; umm
    murmur          wow
    agreement       yeah; yes; Oh, okay.; of course; that's right; oh okay I see; makes sense; sounds good; sure thing
    agreement       that'll do nicely; that sounds absolutely fantastic; oh right yeah fair; what a relief; really good
    agreement       you're quite right, my dear; works for me, mate; all good
    agreement       wait, ok go on; stop no go on; no problem; go ahead; I'll wait; that's good enough, of course
    thanks          okay thank you; thanks; thank you so much; I appreciate it; thanks for all your help
    thanks          oh great thank you; ta very much, love; cheers mate; thank you, sir
    thanks          you've been so helpful, thank you; okay great thank you very much for your help that is great
    thanks          that's really very kind of you; what a star; I'm very grateful
    farewell        bye; bye bye; Okay, thank you, goodbye!; have a nice day; thank you so much bye; take care
    farewell        thanks for your help bye; okay great thank you very much bye; Goodbye, Rowan.; bye then Anna Maria
    farewell        that was quick thanks bye; awesome, talk tomorrow, bye; have a lovely rest of your day
    farewell        good night, and thank you for everything; see you on Tuesday at ten; I have to go, bye; no bye
    presence check  hello?; hello hello; are you there?; hi; good morning; can you hear me now; is anybody there?
    presence check  okay hello; did we get cut off; have you hung up?; is this thing working; anyone?; I'm still waiting
    refusal         no thanks; no thank you; not really; maybe later; I'd rather not
    objection       no; no no; what?; wrong; that's not right; help; operator; stop; okay stop; umm okay stop; shut up
    objection       that's enough; Never mind; excuse me; pardon; listen to me; slow down; I can't hear you
    objection       no that's wrong; that's not good; that's not me; you're wrong; again; next; sorry?; Huh?; bullshit
    objection       no wait not Tuesday; stop talking please; hold on stop
    hold request    hold on; wait; Wait, wait.; one moment please; just a second; hang on a sec; bear with me
    hold request    wait a moment
    hold request    hold on let me get my card; okay one second let me check; let me see if Tuesday works
    hold request    give me a minute; bear with me two ticks; I'll only be a minute; just a jiffy
    hold request    could you hold on a sec; hang on, somebody's at the door; bear with me while I look it up
    hold request    sorry, one moment, my phone is ringing; please wait, I am looking for the letter; don't go anywhere
    hold request    let me put on my glasses; let me call my wife over; I have to go upstairs to get it; hang on a tick
    hold request    Can you wait a moment, please?; wait a second please, I am driving
    correction      I meant Tuesday; no I meant Tuesday; actually Tuesday; I said four; not Monday, Wednesday
    correction      make that six
    question        what time do you open; what about Sunday?; yeah but what about Sunday?; how much is it
    question        Hello who is this?
    question        okay, but tell me about the other one?; bye for now, but can you text me the address?
    question        is there parking
    takes turn      Tuesday; I see a problem; 5551234; да; i; but; and also for Friday; it's for my son; two adults
    takes turn      wait, I have a question; bye but one more thing; say goodbye to my discount
    takes turn      take care of my dog please; five minutes; sir; say bye to my cat; that's really Tuesday
    takes turn      my love is Tuesday
    takes turn      yeah yeah yeah okay right; that's all thank you; you too; hello my name is Martin; yeah but Sunday
    noise           ; ...; —; .
"""


def lines() -> list[tuple[str, Label]]:
    """Return each text of ``LINES`` with its label."""
    found = []
    for line in LINES.strip().splitlines():
        name, _, texts = line.strip().partition("  ")
        found += [(text.strip(), Label[name.upper().replace(" ", "_")]) for text in texts.split(";")]
    return found


@each_row(("text", "label"), lines())
def test_the_words_alone(text, label):
    assert label_words(text, ENGLISH) is label


IN_CONTEXT = [
    # what the agent says; the caller's words; their label
    (ASKED, "yes", Label.ANSWER),
    (ASKED, "okay", Label.ANSWER),
    (ASKED, "mm-hm", Label.ANSWER),
    (ASKED, "yes please", Label.ANSWER),
    (ASKED, "no", Label.OBJECTION),
    (ASKED, "no thank you", Label.REFUSAL),
    (ASKED, "oh", Label.MURMUR),
    (ASKED, "table at eight", Label.TAKES_TURN),
    (ABOUT_TO_ASK, "okay", Label.AGREEMENT),
    (ABOUT_TO_ASK, "mm-hm", Label.MURMUR),
    (STATEMENT, "okay", Label.AGREEMENT),
    (STATEMENT, "your appointment is on Tuesday", Label.ECHO),
    (STATEMENT, "appointment is on Tuesday at then", Label.ECHO),
    (STATEMENT, "on Tuesday at eleven please I said", Label.TAKES_TURN),
    (STATEMENT, "Tuesday", Label.TAKES_TURN),
    (GOODBYE, "you too", Label.FAREWELL),
    (GOODBYE, "that's all thank you", Label.FAREWELL),
    (GOODBYE, "thank you", Label.THANKS),
    (GOODBYE, "wait", Label.HOLD_REQUEST),
    (GOODBYE, "lovely chatting with you, bye", Label.FAREWELL),
    (GOODBYE, "I got everything I need, bye", Label.FAREWELL),
    (NAMED, "Good morning this is Hannah of the harbor clinic", Label.ECHO),
    (NAMED, "this is Hannah", Label.TAKES_TURN),
    (GOODBYE, "what about Sunday", Label.QUESTION),
    (GOODBYE, "no", Label.OBJECTION),
]


@each_row(("agent", "text", "label"), IN_CONTEXT)
def test_the_words_after_what_the_agent_has_said(agent, text, label):
    assert label_words(text, ENGLISH, agent) is label


REPORTS = [
    # the public report; what the agent has said, and what is still to come; the caller's words; their label
    ("bolna-ai/bolna#223", "We offer three plans", "and all of them", "listen to me", Label.OBJECTION),
    ("bolna-ai/bolna#223", "We offer three plans", "and all of them", "wait listen", Label.OBJECTION),
    ("livekit/agents#3515", "We offer three plans", "and all of them", "hello", Label.PRESENCE_CHECK),
    ("livekit/agents#1061", "Once upon a time", "there was a village", "ok", Label.AGREEMENT),
    ("livekit/agents#6750", "Your appointment is on Tuesday", "and the address is", "makes sense", Label.AGREEMENT),
    ("livekit/agents#6750", "Your appointment is on Tuesday", "and the address is", "thank you", Label.THANKS),
    ("pipecat-ai/pipecat#984", "We open at nine", "on Sundays at ten", "mhmm", Label.MURMUR),
    ("pipecat-ai/pipecat#984", "Shall I book it?", "", "yes", Label.ANSWER),
    ("pipecat-ai/pipecat#3284", "Is tomorrow fine?", "", "Yes.", Label.ANSWER),
    ("pipecat-ai/pipecat#1663", "The best one", "depends", "ok, but tell me about the others?", Label.QUESTION),
    ("livekit/agents#4360", "We open at nine", "on Sundays", "umm okay stop", Label.OBJECTION),
    ("livekit/agents#2852", "Once upon a time, in", "a small village", "wait, ok go on", Label.AGREEMENT),
    ("livekit/agents#5001", "Good morning", "this is Anna", "hello?", Label.PRESENCE_CHECK),
    ("livekit/agents#4432", "It is booked", "for four", "actually make it six", Label.CORRECTION),
    ("livekit/agents#6548", "Let me check", "Tuesday", "no wait, not Tuesday", Label.OBJECTION),
    ("livekit/agents#3903", "Sure, I", "will do that", "and also for Friday", Label.TAKES_TURN),
    ("livekit/agents#6599", "We open at nine", "on Sundays", ".", Label.NOISE),
    ("livekit/agents-js#809", "We open at nine", "on Sundays", "", Label.NOISE),
    ("jambonz/jambonz-feature-server#655", "Please choose", "one of", "", Label.NOISE),
    ("allgpt-co/QuickVoice#154", "I answer questions, capture details", "", "Questions capture details", Label.ECHO),
    ("MCERQUA/OpenVoiceUI#78", "it will be straightforward", "", "you it will be straightforward", Label.ECHO),
    ("aws-samples/amazon-nova-samples#71", "Yep, you got it! I am glad", "", "yep you got it", Label.ECHO),
    ("mbailey/voicemode#211", "We stop at no time", "for anybody", "stop!", Label.OBJECTION),
    ("jferreiros/vortex#224", "One moment", "I am looking", "it's for my son", Label.TAKES_TURN),
    ("livekit/agents#6100", "I am confirming the booking now", "", "No. That's it.", Label.TAKES_TURN),
    ("bolna-ai/bolna#1036", "Thank you", "goodbye", "one more thing, do you open on Sundays?", Label.QUESTION),
    ("swairshah/bb-handsfree#15", "Anything else", "", "bye for now, but can you text me the address?", Label.QUESTION),
    ("openclaw/openclaw#137895", "Thanks for calling, goodbye", "", "bye", Label.FAREWELL),
    ("jaredrhod/backtalk#42", "It is done.", "", "Goodbye, Rowan.", Label.FAREWELL),
    ("zoedolan/Vybn#3252", "It is done.", "", "good night, and thank you for everything", Label.FAREWELL),
    ("AVA-AI-Voice-Agent-for-Asterisk#231", "It is done.", "", "thank you so much bye", Label.FAREWELL),
    ("AVA-AI-Voice-Agent-for-Asterisk#231", "It is done.", "", "thanks for your help bye", Label.FAREWELL),
    ("livekit/livekit#6796", "I will connect you to sales", "now", "okay thank you", Label.THANKS),
    ("mintlify.com/abdofallah/IqraAI", "I have twelve Oak", "", "no, that's not my address", Label.OBJECTION),
    ("www.modelguide.ai/blog", "We open at nine", "on Sundays", "yeah, yeah", Label.AGREEMENT),
    ("www.modelguide.ai/blog", "We open at nine", "on Sundays", "wait, I have a question", Label.TAKES_TURN),
    ("CALLE-AI/awesome-phone-call-agents#740", "Your appoint", "ment is", "no", Label.OBJECTION),
    ("microsoft/botframework-telephony#93", "Enter your PIN", "then press pound", "operator", Label.OBJECTION),
    ("openai/openai-realtime-console#459", "We open at", "nine", "continue", Label.AGREEMENT),
    ("elevenlabs/elevenlabs-docs#1118", "What is the number?", "", "let me think", Label.HOLD_REQUEST),
    ("elevenlabs/elevenlabs-docs#1118", "What is the number?", "", "give me a second", Label.HOLD_REQUEST),
    ("DicioTeam/dicio-android#333", "What is the number?", "", "just a sec", Label.HOLD_REQUEST),
    ("DicioTeam/dicio-android#333", "What is the number?", "", "hang on", Label.HOLD_REQUEST),
    ("DicioTeam/dicio-android#333", "What is the number?", "", "wait a moment", Label.HOLD_REQUEST),
    ("huggingface/speech-to-speech#565", "We open at nine", "on Sundays", "right right right", Label.MURMUR),
    ("local-voice-harness#409", "Your card number?", "", "hold on let me get my card", Label.HOLD_REQUEST),
]  # fmt: skip


@each_row(("report", "heard", "coming", "text", "label"), REPORTS)
def test_what_public_reports_say(report, heard, coming, text, label):
    agent = AgentSpeech(heard, coming, asked=heard.endswith("?"), leaving="oodbye" in heard)
    assert label_words(text, ENGLISH, agent) is label


@pytest.mark.parametrize(
    ("so_far", "label"),
    [
        ("are", Label.PRESENCE_CHECK),
        ("can you", Label.PRESENCE_CHECK),
        ("thank", Label.THANKS),
        ("have a nice", Label.FAREWELL),
    ],
)
def test_the_beginning_of_a_phrase_counts_as_the_phrase_while_the_caller_speaks(so_far, label):
    assert label_words(so_far, ENGLISH, unfinished=True) is label
    assert label_words(so_far, ENGLISH) is not label


@pytest.mark.parametrize(
    ("so_far", "label"),
    [
        ("Okay, Sam", Label.AGREEMENT),
        ("That's very common", Label.THANKS),
        ("yeah Sunday", Label.AGREEMENT),
        ("yeah Sunday afternoon", Label.TAKES_TURN),
        ("okay but Sunday", Label.TAKES_TURN),
        ("Sam", Label.TAKES_TURN),
        ("no Sam", Label.OBJECTION),
    ],
)
def test_the_last_word_does_not_decide_while_the_caller_speaks(so_far, label):
    """Whisper heard "Okay, Sam" in half of "okay, thank you", and "That's very common" in "that's very kind"."""
    assert label_words(so_far, ENGLISH, unfinished=True) is label
    if label in (Label.AGREEMENT, Label.THANKS):
        assert label_words(so_far, ENGLISH, unfinished=True, decide=True) is Label.TAKES_TURN


def test_one_word_that_the_agent_has_just_said_may_be_the_beginning_of_an_echo():
    assert label_words("clinic", ENGLISH, AgentSpeech("This is Anna of the clinic"), unfinished=True) is Label.ECHO
    assert label_words("clinic", ENGLISH, AgentSpeech("This is Anna of the clinic")) is Label.TAKES_TURN
    assert label_words("stop", ENGLISH, AgentSpeech("Say stop"), unfinished=True) is Label.OBJECTION


def test_without_lists_the_length_decides():
    assert lexicon_of("tlh") is None
    assert label_words("HIja'", None) is Label.MURMUR
    assert label_words("nuqDaq 'oH puchpa''e'", None) is Label.TAKES_TURN
    assert label_words("", None) is Label.NOISE


@pytest.mark.parametrize("language", ["en", "EN", "en-GB", "en_US"])
def test_a_language_is_found_by_its_first_part(language):
    assert lexicon_of(language) is ENGLISH


def test_a_language_is_no_path():
    assert lexicon_of("../lexicons/en") is None


LISTS = (*KINDS, *OPENINGS, "not_only", "unfinished", "may_end", "unclear")
EMPTY = dict.fromkeys((*LISTS, *(f"{table}.{name}" for table, names in TABLES.items() for name in names)), "")


def toml(lists: dict[str, str]) -> str:
    return "\n".join(f'{name} = "{listed}"' for name, listed in lists.items())


def test_a_phrase_in_two_lists_is_an_error():
    lists = EMPTY | {"murmur": "oh, right", "agreement": "right"}
    with pytest.raises(ValueError, match="'right' stands in murmur and in agreement"):
        read_lexicon(toml(lists))


def test_a_phrase_may_be_made_of_slots_and_one_that_is_written_out_goes_before_it():
    lists = EMPTY | {
        "slots.very": "very, so, -",
        "slots.good": "good, kind",
        "agreement": "that's {very} {good}",
        "thanks": "that's very kind",
    }
    phrases = read_lexicon(toml(lists)).phrases
    assert {" ".join(words): kind for words, kind in phrases.items()} == {
        "that's very good": "agreement",
        "that's very kind": "thanks",
        "that's so good": "agreement",
        "that's so kind": "agreement",
        "that's good": "agreement",
        "that's kind": "agreement",
    }


def test_an_unknown_slot_is_an_error():
    with pytest.raises(ValueError, match="no slot is called nice"):
        read_lexicon(toml(EMPTY | {"agreement": "so {nice}"}))


def test_an_unknown_list_is_an_error():
    with pytest.raises(ValueError, match=r"missing or unknown: .*thankz"):
        read_lexicon('thankz = "oh"')


@given(st.text(), st.text(), st.booleans())
def test_any_words_get_a_label(text, heard, unfinished):
    for agent in (SILENT, AgentSpeech(heard, coming=text)):
        label = label_words(text, ENGLISH, agent, unfinished=unfinished)
        assert (label is Label.NOISE) is (not words_of(text))
