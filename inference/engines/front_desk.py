"""
The rules by which the agent that needs no download answers: the front desk of Harper Hall, an invented company.

``intent_of`` returns what a caller wants, and ``answer`` what the desk replies. Both are pure: the conversation so far
is the only state. ``front_desk_phrases`` lists what callers may say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.engines.front_desk_phrases import DAYS, DIGIT_WORDS, DIGITS, NAMES
from inference.requests import NO_REQUESTS, ToolRequests
from inference.types import NO_TOOLS, Message, Tools

_NAME_PATTERN = rf"(?:{'|'.join(NAMES)})"
_VOCABULARY = {"NAME": _NAME_PATTERN, "NUMBER": rf"(?:{'|'.join(DIGITS)}|double)", "DAY": rf"(?:{'|'.join(DAYS)})s?"}

_PATTERNS = r"""
bye
    3    (good)?bye|good night|take care|see you|talk to you (later|soon)
         |have a \w+ (day|evening|weekend)
    2    (have to|got to|must|need to|should) (go|leave|hang|run)
opt_out
    6    (off|from) (your|the|this) list|(don't|do not|never|stop) call(ing)? me|call list|(more|these) calls
human
    3    (talk|speak|speaking|talking|connect|transfer|put)\b.*\b(human|person|someone)
         |(talk|speak|connect|transfer|put)\b.*\b(somebody|manager|operator|agent|boss|colleague)
    3    put me (through|on to)|get me (a|the|your) (human|person|manager|operator|agent)
    1.6  human|operator|manager|representative|colleague|real person
         |(person|someone|somebody|anyone|anybody) (i|to|who|else)\b
    -3   am i (talking|speaking)
who
    2.5  robot|computer|machine|recording
         |(are you|is this|you are|talking to|speaking with) (some kind of |an? )?(real |human )?(real|human|person|ai)
    2.5  who (are|is) (you|this|that|calling)|who am i|what is your name|your name
about
    3    (about|describe|introduce) (you\b|yourself|harper|this (house|place)|the house)
         |(who|what) is harper|what (exactly )?are you( exactly)?$
    2    (what|how) do you do\b|tell me (something|everything|more|a story|your story)
joke
    3    jokes?|laugh|funny
    1    another one|one more
weather
    3    weather|rain\w*|sunny|snow\w*|umbrella|coat|forecast
    1.2  (hot|cold|warm|nice)\b.*\b(outside|out|there|here|today|tomorrow)
wrong
    3    not what|misunderst\w+|got (that|me) wrong|(did not|didn't) (say|mean|ask)
         |not (right|correct|true)|is wrong|that's wrong
    2    wrong|what do you mean|i (said|meant)|something (else|different)|(do not|don't) understand
repeat
    3    (say|tell me|repeat)\b.*\b(again|more time|once more)|repeat|pardon|come again|what was that
         |did you (just )?say
    2.5  (did not|didn't|could not|couldn't|can't) (hear|catch|get|understand)
         |speak (up|slower|louder|more)|once more|one more time
    1    again|excuse me|^(sorry )?what$|^sorry$
wait
    3    hold on|hang on|wait|(a|one|just a) (second|moment|minute)|let me (think|check|see)|interrupt
         |stop
    2    be quiet|enough|shut up|moment|second|ask something|say something
how_are_you
    2.5  how (are|is|'s) (you|it going|things|everything|life)|how do you feel|your day
         |going today|you doing|everything going
hear_me
    3    hear me|(any(one|body)|some(one|body)) (here|there|at home|on)|are you (still )?there
name
    3    my name( is|'s)|spell|call me (?!back|later|tomorrow)|(i am|i'm|this is|it is|it's) NAME
    1.5  NAME|my name
number
    3    (phone|telephone|my|the) number|my (tele)?phone|call me at NUMBER
    2.5  (NUMBER ){2,}NUMBER
    0.8  ^NUMBER( NUMBER)?$
booking
    3    book(ing)?|reserv\w+|appointment|order|rent
    2    cancel|reschedule|(call|ring) me back|leave a message|available
    1.2  (\w+) (people|persons|guests|nights)|table|meeting|half an hour|an hour|o'clock|[ap] m$|thirty
    1    i('d| would) like to|buy|pizza
price
    3    how much|price\w*|costs?|charges?|cheap\w*|expensive|discounts?|offer|rates?|dollars?|fee|money
    1    \bpay|free
address
    3    address|location|located|directions|parking|park|street|part of town|(can not|can't|cannot) find
         |which (bus|train)|get there|find you|get to you
    2.5  \bwhere\b|how (do|can|would|could) (i|we) (get|come|go|walk|drive)
    1    bus|train|station|far|near\w*|city|downtown
hours
    3    \b(open|opening|opens|closed?|closes|closing|shut|shuts|hours|opening times|work (on|at|late))\b
    1.5  when (are|do|does|is|will) (you|it|the)|what time (can|should|may|are|do) (i|you)|DAY|weekends?
         |weekdays?|holidays?
    0.7  \b(this|in the|on) (morning|afternoon|evening)|tonight|tomorrow|today
time
    3    what time is it|(what is|what's) the (time|date)|what day is|the time
help
    3    help (me|with)|(can|could|should|may) (you|i) (do|ask|say)|able to|options|choices|i have a question
         |information|(sort|kind|kinds) of (questions|things)
    1    help|question|what do you know|what can
thanks
    2    thanks?|thank you|very much|kind of you
    1    helpful|kind|indeed
fine
    1.2  i'm (fine|good|well|great|okay|doing)|i am (fine|good|well|great|okay)
no
    1.1  ^(no|nope|nah|not really|never mind|nothing)\b|don't think so|(that's|that is|that was) (all|it|everything)
         |nothing else|not (now|yet)
    0.3  \bno\b
yes
    1    ^(yes|yeah|yep|sure|okay|ok|right|correct|exactly|perfect|great|alright|absolutely|nice|fine
         |good(?! (morning|afternoon|evening)))\b
         |go ahead|of course|sounds|think so|please do|(that's|that is|very) (right|fine|good|correct|great|okay|nice)
         |i see|got it|why not|interesting
backchannel
    0.9  ^(mm|mhm|mm-hm|uh|hm|hmm|huh|um|ah|oh|aha)( (huh|hmm|okay|uh|hm|mm))?$
hello
    0.8  \b(hello|hi|hey|good (morning|afternoon|evening))\b
"""
"""
An intent, then its patterns, each with its weight before it; a line that begins with a bar continues the line above.
The weights of the patterns that match are added up. If two intents have the same sum, the earlier one wins.
"""


def _compile_patterns() -> dict[str, list[tuple[float, re.Pattern[str]]]]:
    table: dict[str, list[tuple[float, re.Pattern[str]]]] = {}
    for line in re.sub(r"\n\s+\|", "|", _PATTERNS.strip()).splitlines():
        if not line.startswith(" "):
            patterns = table[line] = []
            continue
        weight, pattern = line.split(maxsplit=1)
        for name, words in _VOCABULARY.items():
            pattern = pattern.replace(name, words)
        patterns.append((float(weight), re.compile(rf"\b(?:{pattern})(?!\w)")))
    return table


_COMPILED = _compile_patterns()


LOWEST_SCORE = 0.7
"""The lowest weight of a pattern that decides by itself; less evidence than that is unclear."""


def intent_of(text: str) -> str:
    """Return what the caller wants: an intent from the table above, or ``"unclear"``. Ignores case and punctuation."""
    words = _plain_words(text)
    scores = {
        intent: sum(weight for weight, pattern in patterns if pattern.search(words))
        for intent, patterns in _COMPILED.items()
    }
    best = max(scores, key=lambda intent: scores[intent])
    return best if scores[best] >= LOWEST_SCORE else "unclear"


def _plain_words(text: str) -> str:
    """Return the lower-case words, without punctuation and with each digit as a word."""
    text = text.lower().replace("’", "'")
    text = re.sub(r"\d", lambda digit: f" {DIGIT_WORDS[digit.group()]} ", text)
    return " ".join(re.findall(r"[a-z']+", text))


# Answers


@dataclass(frozen=True, slots=True)
class DeskReply:
    text: str
    requests: ToolRequests = NO_REQUESTS


@dataclass(frozen=True, slots=True)
class _Turn:
    """The caller's turn and the parts of the conversation on which its answer may depend."""

    words: str
    intent: str
    agents_words: str
    """The agent's last words, as far as they were heard."""
    times_before: int
    """The number of times that the caller had this intent before: the second joke is another one."""


_HOURS = "from nine to five, Monday to Friday, and from ten to two on Saturday"
_MENU = "You can ask for our opening hours, our address or our prices, or tell me your name and I will spell it."
_REPAIRS = (
    "Sorry, I didn't catch that. Could you say it again?",
    f"I'm afraid I still don't understand. {_MENU}",
    "I'm sorry, we are not getting through to each other. Shall we end the call here?",
)
_ANYTHING_ELSE = "Is there anything else?"

_ANSWERS: dict[str, tuple[str, ...]] = {
    "hello": ("Hello! What can I do for you?", "Hello again! How can I help?"),
    "how_are_you": ("Very well, thank you. It is a quiet day at the desk. How can I help?",),
    "fine": ("I'm glad to hear that. What can I do for you?",),
    "hear_me": ("Yes, I'm here, and I can hear you. How can I help?",),
    "about": (
        "I'm the front desk of Harper Hall, a small house with four meeting rooms and a very good coffee machine. "
        "I answer the phone day and night, and I run on a laptop, without any model from the internet. "
        "I listen while I speak, so you can interrupt me whenever you like. "
        "I know our opening hours, our address and our prices, and I can spell your name.",
        "There is not much more to tell. I was made to show how a phone call with a machine can feel. "
        "I never sleep, I never hurry, and I have never seen the meeting rooms that I talk about. "
        "But you can ask me about our hours, our address or our prices.",
    ),
    "who": ("I'm the automated front desk of Harper Hall, so yes, a machine. How can I help?",),
    "help": (_MENU, f"I also know a joke or two. {_MENU}"),
    "address": (
        "We are at twelve Harper Street, right behind the station. There is free parking in the yard.",
        "It is twelve Harper Street. From the station it is a walk of two minutes.",
    ),
    "price": (
        "A meeting room is twenty dollars an hour, or a hundred dollars for the day. Coffee is free.",
        "It is twenty dollars an hour, and a hundred for the whole day.",
    ),
    "weather": ("I have no window here, but I always hope for sunshine. Better take an umbrella.",),
    "joke": (
        "Why did the telephone go to school? It wanted to be a smart phone.",
        "What do you call a meeting that ends on time? A dream.",
        "I would tell you one about the weather, but it might go over your head.",
    ),
    "booking": (
        "I'm sorry, in this demonstration I can't book or change anything. "
        "I can tell you our opening hours, our address or our prices.",
        "Bookings are beyond me, I'm afraid. Shall I tell you when we are open instead?",
    ),
    "time": ("I'm sorry, there is no clock on this desk. But I can tell you when we are open.",),
    "wait": ("Sure, take your time.", "Of course. I'm listening."),
    "wrong": ("I'm sorry, I got that wrong. Could you say it in other words?",),
    "human": (
        "I'm the only one here, I'm afraid, but I can tell you our opening hours, our address or our prices.",
        "There really is nobody else here. But I will do my best. What would you like to know?",
    ),
    "opt_out": ("I'm sorry, I can't change who is called. Please write to Harper Hall. How else can I help?",),
    "thanks": (f"You are welcome. {_ANYTHING_ELSE}", "My pleasure."),
    "backchannel": ("I'm listening.",),
    "yes": ("Good. What would you like to know?",),
    "no": (f"All right. {_ANYTHING_ELSE}",),
}


def answer(messages: Sequence[Message], tools: Tools = NO_TOOLS) -> DeskReply:
    """
    Return the desk's next turn. ``messages`` ends with the caller's words.

    A caller who wants a person is transferred to the target that they name, or else to the first one.
    """
    turns = [message for message in messages if message.role in ("user", "assistant")]
    last = max((index for index, message in enumerate(turns) if message.role == "user"), default=-1)
    if last < 0:
        return DeskReply("Hello, this is the front desk of Harper Hall. How can I help you?")
    words = _plain_words(turns[last].content)
    intent = intent_of(words)
    before = turns[:last]
    if intent == "repeat":
        return _repeat(before)
    targets = tools.transfer_targets
    named = next((name for name in targets if re.search(rf"\b{re.escape(_plain_words(name))}\b", words)), "")
    if targets and (intent == "human" or (named and _CONNECT.search(words))):
        return DeskReply("Of course. One moment, I'll connect you.", ToolRequests(transfer=named or targets[0]))
    if intent == "opt_out" and tools.opt_out:
        return DeskReply("I understand.", ToolRequests(opt_out=True))
    agents_words = next((message.content for message in reversed(before) if message.role == "assistant"), "")
    times_before = sum(message.role == "user" and intent_of(message.content) == intent for message in before)
    turn = _Turn(words, intent, agents_words, times_before)
    if intent == "unclear":
        return _ask_again(turn, before)
    if special := _SPECIAL_ANSWERS.get(intent):
        return special(turn)
    return _answer_in_turn(turn)


_CONNECT = re.compile(r"\b(?:talk|speak|connect|transfer|put)\b")


def _answer_in_turn(turn: _Turn) -> DeskReply:
    answers = _ANSWERS[turn.intent]
    return DeskReply(answers[turn.times_before % len(answers)])


def _repeat(before: Sequence[Message]) -> DeskReply:
    """Give the last answer again, in full even if the caller heard only half of it."""
    for end in range(len(before), 0, -1):
        if before[end - 1].role == "user" and intent_of(before[end - 1].content) != "repeat":
            return answer(before[:end])
    greeting = next((message.content for message in before if message.role == "assistant"), "")
    return DeskReply(greeting) if greeting else answer([])


def _ask_again(turn: _Turn, before: Sequence[Message]) -> DeskReply:
    """Ask the caller to repeat, the second time offer a menu, and the third time offer to end the call."""
    misses = 0
    for message in reversed(before):
        if message.role == "user":
            if intent_of(message.content) != "unclear":
                break
            misses += 1
    return DeskReply(_REPAIRS[misses % len(_REPAIRS)])


def _answer_hours(turn: _Turn) -> DeskReply:
    day = next((day for day in DAYS if re.search(rf"\b{day}", turn.words)), "")
    match day:
        case "sunday":
            return DeskReply("On Sunday we are closed. On all other days we open at nine, and on Saturday at ten.")
        case "saturday":
            return DeskReply("On Saturday we are open from ten to two.")
        case "":
            if "weekend" in turn.words:
                return DeskReply("On Saturday we are open from ten to two, and on Sunday we are closed.")
            return DeskReply(f"We are open {_HOURS}.")
        case _:
            return DeskReply(f"On {day.title()} we are open from nine to five.")


def _answer_name(turn: _Turn) -> DeskReply:
    named = re.findall(rf"\b{_NAME_PATTERN}\b", turn.words)
    # Other recognisers know names that are not in NAMES.
    other = re.search(
        r"\b(?:my name is|my name's|call me|spell(?: the name)?) (?!my|it|that|the)([a-z]{2,})", turn.words
    )
    name = named[-1] if named else other.group(1) if other else ""
    if not name:
        return DeskReply("Tell me your name, and I will spell it back to you.")
    return DeskReply(f"{name.title()}. I spell it {', '.join(name.upper())}. How can I help you, {name.title()}?")


def _answer_number(turn: _Turn) -> DeskReply:
    digits = [DIGITS[word] for word in turn.words.split() if word in DIGITS]
    if len(digits) < 2:
        return DeskReply("Tell me the number digit by digit, and I will read it back to you.")
    # In groups of three, with four at the end if one digit would be left, as people read telephone numbers.
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [groups[-2] + groups[-1]]
    read = ", ".join(" ".join(DIGIT_WORDS[digit] for digit in group) for group in groups)
    return DeskReply(f"I heard {read}. Is that right?")


def _answer_yes(turn: _Turn) -> DeskReply:
    match _question_in(turn.agents_words):
        case "end":
            return _say_goodbye(turn)
        case "right":
            return DeskReply(f"Great, I have got it. {_ANYTHING_ELSE}")
        case "hours":
            return _answer_hours(turn)
        case _:
            return _answer_in_turn(turn)


def _answer_no(turn: _Turn) -> DeskReply:
    match _question_in(turn.agents_words):
        case "else":
            return _say_goodbye(turn)
        case "right":
            return DeskReply("Sorry about that. Please say it once more, slowly.")
        case "end":
            return DeskReply(f"Good, then let us try again. {_MENU}")
        case _:
            return _answer_in_turn(turn)


def _say_goodbye(turn: _Turn) -> DeskReply:
    return DeskReply("Thank you for calling Harper Hall. Goodbye!", ToolRequests(end_call=True))


def _question_in(words: str) -> str:
    """Return which of the desk's questions these words of the agent contain, or ``""``."""
    questions = {"end the call": "end", "is that right": "right", "when we are open": "hours", "anything else": "else"}
    return next((name for question, name in questions.items() if question in words.lower()), "")


_SPECIAL_ANSWERS: dict[str, Callable[[_Turn], DeskReply]] = {
    "hours": _answer_hours,
    "name": _answer_name,
    "number": _answer_number,
    "yes": _answer_yes,
    "no": _answer_no,
    "bye": _say_goodbye,
}
