"""
Turns that ended too early or too late because of the words, as public bug reports describe them.

Each line names its report, what the agent had said, what the caller had said by the pause, and how long the agent
should wait: as after a whole answer, or as after words that go on.
"""

from __future__ import annotations

import pytest

from media.turns.endpointing import CLAUSE, COMPLETE, LIKELY, LONGEST, OPENING, UNFINISHED, UNSURE, Endpointing

HELP = "How can I help?"
PHONE = "What is your phone number?"
EMAIL = "What is your e-mail address?"

GOES_ON = [
    ("kyutai-labs/unmute#130", PHONE, "four fifteen"),
    ("kyutai-labs/delayed-streams-modeling#152", PHONE, "My number is 4, 1, 5."),
    ("livekit/agents#3701", PHONE, "It's nine eight seven six"),
    ("livekit/agents#3701", EMAIL, "It's rahul dot"),
    ("livekit/agents#382", PHONE, "one two three four 5"),
    ("facebook/duckling#621", "What is your credit card number?", "4 one 1 1 1 1 eleven 1 1 1"),
    ("Azure-Samples/cognitive-services-speech-sdk#1132", "Please tell me your seven-digit ID.", "09 87 65"),
    ("RestComm/Restcomm-Connect#1458", "Please say your five digits.", "one two three four"),
    ("TypeWhisper/typewhisper-mac#693", "What is your PIN?", "four oh oh"),
    ("talonhub/community#252", "Please read me the code.", "zero three"),
    ("NVIDIA-NeMo/Speech#2161", PHONE, "five four two one two nine"),
    ("NVIDIA-NeMo/Speech#2161", PHONE, "five oh seven"),
    ("wit-ai/wit#2396", "What is your account number?", "One, two,"),
    ("CoreWorxLab/CAAL#14", "Could you spell your name?", "H U B E R"),
    ("utsavk1993/wren#12", HELP, "I want to reset the... uh... the"),
    ("livekit/agents#3373", HELP, "emmm"),
    ("livekit/agents#3373", HELP, "I would like, uhh"),
    ("livekit/agents#6415", "Would you like me to confirm that booking?", "Yeah,"),
    ("pipecat-ai/pipecat#5814", "Where would you go?", "I think I'd go to Japan,"),
    ("pipecat-ai/pipecat#3518", "Is it the art or the food?", "I mean,"),
    ("pipecat-ai/pipecat#3518", "Is it the art or the food?", "I mean"),
    ("nbramia/LifeOS#718", HELP, "I need a table for four because"),
    ("nbramia/LifeOS#718", HELP, "On Monday and"),
    ("nbramia/LifeOS#718", HELP, "I looked for it but."),
    ("elizaOS/eliza#27437", HELP, "I'm calling about the"),
    ("elizaOS/eliza#27437", HELP, "I think we should"),
]

WHOLE = [
    ("livekit/agents#382", PHONE, "one two three four 5:06 seven eight nine zero"),
    ("facebook/duckling#621", "What is your credit card number?", "4 one 1 1 1 1 eleven 1 1 1 1 1 1 1 1"),
    ("Azure-Samples/cognitive-services-speech-sdk#1132", "Please tell me your seven-digit ID.", "09 87 65 4"),
    ("RestComm/Restcomm-Connect#1458", "Please say your five digits.", "one two three four five"),
    ("NVIDIA-NeMo/Speech#2161", PHONE, "five four two one two nine seven zero six five"),
    ("livekit/agents#6415", "Would you like me to confirm that booking?", "Yeah."),
    ("livekit/agents#6415", "Would you like me to confirm that booking?", "Yes."),
    ("livekit/agents#6415", "", "Hello?"),
    ("livekit/agents#6415", "Do you want 1a or 1b?", "1b."),
    ("livekit/agents#1565", "Would you like to hear our prices?", "yes please"),
    ("livekit/agents-js#526", "Hello, how can I help you today?", "Hey. How's it going?"),
    ("utsavk1993/wren#49", PHONE, "Hey Wren, how are you doing today?"),
    ("NVIDIA/NeMo-Speech.cpp#22", HELP, "? And what is the capital of France?"),
]

NO_WHOLE_TURN = [
    ("livekit/agents#2633", HELP, "I was at the office and I saw.", CLAUSE),
    ("ideaplexa/voicetypr#36", HELP, "Then we went to the house.", CLAUSE),
    ("elizaOS/eliza#29934", HELP, "I still need the copyright", CLAUSE),
    ("livekit/agents#6415", HELP, "Hi", OPENING),
    ("livekit/agents#6415", HELP, "Hello.", OPENING),
    ("pipecat-ai/pipecat#3518", "Where would you go?", "That's a good question.", OPENING),
    ("utsavk1993/wren#49", HELP, "Hey there", OPENING),
]

OTHER_LANGUAGES = [
    ("getdictus/dictus-ios#521", "fr", "Je vais faire une liste de courses.", CLAUSE),
    ("n0an/VivaDicta#237", "fr", "je voudrais euh", UNFINISHED),
    ("n0an/VivaDicta#237", "de", "ich möchte ähm", UNFINISHED),
    ("n0an/VivaDicta#237", "es", "quería ehm", UNFINISHED),
    ("n0an/VivaDicta#366", "de", "der Termin ist um", UNFINISHED),
    ("n0an/VivaDicta#366", "de", "Ich rufe an.", UNSURE),
]


@pytest.mark.parametrize(("report", "agent_said", "text"), GOES_ON)
def test_the_agent_waits_for_more(report, agent_said, text):
    assert Endpointing().judge(text, agent_said=agent_said).wait == UNFINISHED


@pytest.mark.parametrize(("report", "agent_said", "text"), WHOLE)
def test_the_agent_answers_at_once(report, agent_said, text):
    assert Endpointing().judge(text, agent_said=agent_said).wait == COMPLETE


@pytest.mark.parametrize(("report", "agent_said", "text", "expected"), NO_WHOLE_TURN)
def test_a_stop_that_does_not_count_or_a_greeting_makes_no_whole_turn(report, agent_said, text, expected):
    assert Endpointing().judge(text, agent_said=agent_said, stop_counts=False).wait == expected


@pytest.mark.parametrize(("report", "language", "text", "expected"), OTHER_LANGUAGES)
def test_the_same_holds_in_other_languages(report, language, text, expected):
    assert Endpointing(language).judge(text, stop_counts=False).wait == expected


@pytest.mark.parametrize(
    ("agent_said", "text"),
    [
        (HELP, "hello there"),
        (HELP, "good morning"),
        ("Shall I book it?", "yes my husband"),
        ("Shall I book it?", "no I'd rather"),
        ("Shall I book it?", "well"),
        ("Shall I book it?", "so"),
        ("Shall I book it?", "okay so"),
        (PHONE, "sure"),
        ("Could you tell me your name?", "yes of course"),
    ],
)
def test_words_that_only_open_an_answer_promise_more(agent_said, text):
    assert LIKELY < Endpointing().judge(text, agent_said=agent_said).wait <= LONGEST


@pytest.mark.parametrize(
    ("agent_said", "text"),
    [
        ("Shall I book it?", "yes please"),
        ("Shall I book it?", "no thanks"),
        ("Shall I book it?", "yes tomorrow"),
        ("Shall I book it?", "no on Monday"),
        ("Shall I book it?", "no I'm not"),
        ("Regular or express?", "express"),
        ("Do you have an account with us?", "yes I do"),
    ],
)
def test_a_yes_or_no_with_little_behind_it_is_a_whole_answer(agent_said, text):
    assert Endpointing().judge(text, agent_said=agent_said).wait == COMPLETE


@pytest.mark.parametrize(
    ("language", "agent_said", "text"), [("en", HELP, "Hello."), ("de", "Was kann ich tun?", "Hallo")]
)
def test_a_greeting_is_answered_sooner_where_the_agent_has_said_nothing(language, agent_said, text):
    endpointing = Endpointing(language)
    assert endpointing.judge(text, agent_said=agent_said).wait == OPENING
    assert endpointing.judge(text).wait <= LIKELY


def test_hello_said_twice_asks_whether_somebody_is_there():
    assert Endpointing().judge("hello, hello", agent_said=HELP).wait < OPENING
