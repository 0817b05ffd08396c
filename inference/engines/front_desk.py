"""
What the zero-download agent can talk about: the front desk of Harper Hall, a house that exists only here.

Three things that must agree stand side by side: what a caller may say (``sentences``, from which the recogniser's
language model is built), how it is understood (``intent_of``), and what is answered (``answer``).
All of it is pure; the conversation so far is the only state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

from inference.types import Message

DIGITS = {
    word: str(value)
    for value, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
} | {"oh": "0"}
DIGIT_WORDS = {digit: word for word, digit in DIGITS.items() if word != "oh"}
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
NAMES = (
    "adam alex alice amy andrea andrew angela anna anthony barbara ben betty brian carol charles chris christine daniel "
    "david deborah diana donna edward elizabeth emily emma eric eva frank george hannah helen jack jacob james jane "
    "jason jennifer jessica john joseph julia karen kate kevin laura linda lisa lucy maria mark martin mary matthew "
    "michael michelle nancy nicole oliver olivia patricia patrick paul peter rachel rebecca richard robert ruth sam "
    "sandra sarah sophie stephen steven susan theo thomas tom victoria walter william"
).split()

# What a caller may say

_CHOICES = {
    "day": [*DAYS, "today", "tomorrow"],
    "days": [f"{day}s" for day in DAYS] + ["weekends", "weekdays", "holidays"],
    "hour": "one two three four five six seven eight nine ten eleven twelve".split(),
    "name": NAMES,
    "part": ["morning", "afternoon", "evening"],
    "few": "one two three four five six ten twelve twenty".split(),
    "what": ["a room", "a table", "an appointment", "a meeting room", "a reservation", "a meeting"],
    "want": ["i'd like to", "i would like to", "i want to", "i need to", "can i", "could i", "i'm calling to"],
    "ask": ["can you", "could you", "would you", "will you"],
}

_TEMPLATES: dict[str, tuple[int, list[str]]] = {
    # intent: how many sentences it puts into the model, and their templates: (a|b|) is a choice, {day} a list above
    "hello": (60, ["(hi|hello|hey)( there|)", "good {part}", "(hello|hi) is this (the front desk|harper hall)"]),
    "how_are_you": (
        40,
        ["(hi|hello|and|) how are you( doing|)( today|)", "how (is it|are things|is everything|is your day|was your day) (going|doing)( today|)"],
    ),
    "fine": (30, ["i'm (fine|good|well|great|okay|doing fine)( thank you| thanks|)( and you| how are you|)"]),
    "hear_me": (40, ["(hello |)can you hear me( now|)",
            "are you (still |)(there|on the line)",
            "is (there |)(anyone|anybody|someone|somebody) (there|here|at home|on the line)",
            "hello hello"]),
    "about": (
        60,
        [
            "(can you|could you|please|) tell me (something |more |a little |all |)about (you|yourself|harper hall)",
            "(who|what) (is harper hall|are you exactly)",
            "what do you do( there| here| all day|)",
            "(i'd like|i want) to (know|hear) (more|something) about (you|yourself|the house)",
            "tell me (a story|your story|everything)",
        ],
    ),
    "who": (
        50,
        [
            "who are you",
            "who is this",
            "who am i (talking|speaking) (to|with)( please|)",
            "(are you|am i talking to) (a|an|some kind of) (robot|computer|machine|person|human|real person|real human)( or a person| or a human| or a machine|)",
            "is this (a|an) (robot|recording|computer|real person|person)",
            "are you (real|human|a human being)",
            "what('s| is) your name",
        ],
    ),
    "help": (
        60,
        [
            "what (else |)can (you|i) (do|ask|say)( for me| you|)",
            "what are you able to (do|tell me|help with)( for me|)",
            "what (questions|things|kinds of things) (can|may|should) i ask( you|)",
            "(what|how) can you help me( with|)",
            "(can you|could you) help me( with something| please|)",
            "i need (some |) help( with something|)",
            "what (sort|kind) of (questions|things) (can|do) (i|you) (ask|do|know|answer)",
            "what are my (options|choices)",
            "what do you know( about|)",
            "i have a question( for you|)",
            "i need some information",
        ],
    ),
    "hours": (
        160,
        [
            "(when|what time|what days) (do|are|will) you (open|close|be open)( on {day}| {day}| in the {part}| tonight|)",
            "what are (your|the) (opening |business |office |)(hours|times)( on {day}| for {day}|)",
            "are you (open|closed|there) (on {day}|{day}|on {days}|now|right now|at {hour}|in the {part}|today|tonight)",
            "(do|can) you (open|close|work) (on {day}|on {days}|at {hour}|in the {part})",
            "how (late|long|early) are you open( on {day}| {day}| tonight|)",
            "(until|till) (when|what time) (are you open|can i come|can i visit( you|)|do you work)( {day}| on {day}|)",
            "(when|what time) do you (shut|finish|start|begin)( {day}| tonight| on {day}|)",
            "(do|will) you (ever |)(open|close|work|shut) (late|early|on {days})",
            "when (does|is|will) (it|the office|the front desk|the desk|the house) (open|close|be open)",
            "i (want|need|would like) to know your (opening|) hours",
            "(and|how about|what about) (on |) ({day}|{days})( {part}|)",
            "what time (can|should) i come( in| by| over|)( on {day}| {day}|)",
            "(in the|this) {part}",
            "(on|for|this|next) {day}",
        ],
    ),
    "address": (
        110,
        [
            "where (are you|is your office|is the office|is it|is harper hall|is the house)( located| exactly|)",
            "where (can|do|could|should) (i|we) (find|go|come|park|leave) (you|my car|to|it)",
            "where (exactly |)(is|are) (your|the) (house|place|office|building|front desk|rooms)",
            "i (would like to|want to|need to) (know|have) (your|the) (address|street|location|way)",
            "what('s| is) (the|your) (address|street|location)",
            "(can|could) you (give|tell|send) me (the|your) (address|location|directions)( please|)",
            "how (do|can|would) (i|we) (get|come|go|drive|walk) (there|to you|to harper hall|to your house|to your office)",
            "how (do|can) i (get|come) (there|to you) (by bus|by car|by train|from the station|from downtown)",
            "is there (parking|a parking lot|a bus|a train|a station)( near you| nearby| there|)",
            "(do you|does it) have (parking|a parking lot)",
            "(which|what) (bus|train|part of town|city|street) (is it|are you|is that)( in| on|)",
            "i can't find (you|the house|your office|it)",
            "are you (far|near|close to|next to) (the station|downtown|here|the city)",
        ],
    ),
    "price": (
        110,
        [
            "(how much|what) (is|does|do|would|will) (it|that|this|a room|the room|a visit|a coffee|you) (cost|charge)( me|)",
            "how much (is|are) (it|that|a room|a meeting room|a coffee|your rooms|the rooms)( for {few} hours| for a day|)",
            "what('s| is| are) (the|your) (price|prices|cost|rates)( of a room| for a room| for {few} people|)",
            "(tell me|i need|give me) (the|your) (price|prices|rates)",
            "(do|can) you (have|give me) (a|any) (discount|special offer|cheaper room)",
            "is (there|that) (anything|something|) cheaper",
            "(is it|is that|are you|that's) (very |too |) (cheap|expensive|free)",
            "how much (do|would|will) i (have to |) pay( for {few} hours|)",
            "what do i (have to |) pay( for a room|)",
            "how (many|much) (dollars|money)( is it| an hour|)",
        ],
    ),
    "weather": (
        70,
        [
            "what('s| is) the weather( like|)( today| tomorrow| there| on {day}|)",
            "how('s| is| will be) the weather( today| tomorrow| on {day}| there|)",
            "(will|does|is) it (be |) (rain|raining|sunny|cold|warm|snow|snowing|hot)( today| tomorrow| on {day}| there|)",
            "(do|will) i need (an umbrella|a coat)( today| tomorrow|)",
            "is it (going to be|) (nice|cold|warm|hot|sunny) (outside|out there|over there|today|tomorrow)",
            "it's (going to rain|raining|cold) (here|today)",
        ],
    ),
    "joke": (
        50,
        [
            "(can you |please |)tell me (a|another|a good|a funny|another funny) joke",
            "i('d love| would love| want| would like) to hear (a joke|another joke|something funny)",
            "(do|can) you (know|tell) (a joke|some jokes|something funny)",
            "(say|tell me) something (funny|interesting|nice)",
            "(i want to|let me) (laugh|hear a joke|hear another one)",
            "(another|one more) (joke|one)( please|)",
            "(that was|that's|very) funny",
        ],
    ),
    "name": (
        150,
        [
            "(my name is|my name's|i'm|i am|this is|it's|call me) {name}",
            "(my name is|this is) {name} (calling|speaking)",
            "(yes|okay|sure|hello|hi|good {part}) (this is|it's|my name is) {name}",
            "{name}",
            "(can|could|would) you (please |) spell (my name|it|that|{name}|the name|that name)( for me| back| please|)",
            "(please |) spell {name}",
            "(how do you spell|how is) {name}( spelled|)",
            "do you (know|remember|have) my name",
            "what('s| is) my name",
        ],
    ),
    "number": (220, []),  # digits, below
    "number_ask": (
        40,
        [
            "(can|could|may) (i|you) (give you|take|repeat|read back) (my|the) (phone number|number|telephone number)",
            "(take|write) (down |) my (phone |) number( please|)",
            "i('d like|want) to (give|leave) you (my|a) number",
            "what (was|is) (my|the) number( again|)",
        ],
    ),
    "booking": (
        170,
        [
            "{want} (book|reserve|get|have) {what}( for {few} people| for {day}| on {day}| {day}| at {hour}|)( please|)",
            "(book|reserve) {what}( please|)",
            "{want} (make|change|cancel|move) (a|my|the) (reservation|booking|appointment)( please| to {day}| for {day}|)",
            "(can|could) you (book|change|cancel|reserve) (it|that|{what}|my reservation|my booking)( for me|)",
            "(do you have|is there|have you got) (a|any|anything) (room|rooms|table|free|space)( free| available|)( on {day}|)",
            "{few} (people|persons|guests)",
            "for {few} (people|persons|hours|nights)( please|)",
            "(half an|an|one) hour",
            "({hour}|at {hour}|{hour} thirty|at {hour} thirty) (a m|p m|o'clock)",
            "{want} (order|buy|rent|pay for) (a room|a pizza|a (large |small |)coffee|something|my room)",
            "i have a (reservation|booking|appointment)( for {day}| on {day}| at {hour}|)",
            "(please|can you) call me (back|tomorrow|later|on {day})",
            "{want} leave a message",
        ],
    ),
    "time": (30, ["what time is it( now|)", "what('s| is) the (time|date)( now| today|)", "what day is (it|today)"]),
    "yes": (
        120,
        [
            "(yes|yeah|yep|sure|okay|right|correct|exactly|perfect|great|absolutely|of course|go ahead|alright)",
            "(yes|yeah|sure|okay) (please|thank you|that's right|that's correct|that would be nice|go ahead|it is)",
            "that('s| is) (right|correct|fine|good|great|okay)",
            "(sounds|that sounds) (good|great|fine|nice)",
            "(i think so|why not|please do|i see|got it|good|nice|very good|that's interesting)",
        ],
    ),
    "no": (
        80,
        [
            "(no|nope|not really|no thanks|no thank you|never mind|not now|not yet|nothing)",
            "(i don't think so|not today|no it's not|no it isn't|maybe later)",
            "(no |)(that's|that was|that is) (all|it|everything)( thanks| thank you| for now|)",
            "(nothing|no nothing) else( thanks| thank you|)",
        ],
    ),
    "repeat": (
        90,
        [
            "(sorry|excuse me|pardon|what|pardon me|what was that|come again|excuse me what)",
            "(sorry |please |){ask} (say|repeat) (that|it)( again| once more| one more time|)( please|)",
            "(please |)(say|repeat) (that|it|the last part)( again| please|)",
            "(i'm sorry |sorry |)(i didn't|i did not|i couldn't) (hear|catch|get|understand) (you|that|it|what you said)",
            "(sorry|) what did you (just |) say",
            "{ask} speak (up|slower|more slowly|louder)( please|)",
            "(again|once more|one more time)( please|)",
        ],
    ),
    "wait": (
        90,
        [
            "(wait|hold on|hang on|stop|one moment|just a moment|just a second)( please|)",
            "(wait|hold on|hang on) (a|one) (second|minute|moment)( please|)",
            "(just |)(give|let) me (a second|a minute|a moment|think|check|see)",
            "(i need|) (one|a) (second|minute|moment)( please|)",
            "(stop|stop it|stop talking|be quiet|enough|that's enough|okay stop|okay enough)",
            "(let me|can i) (interrupt you|ask something|say something|stop you there)",
        ],
    ),
    "wrong": (
        70,
        [
            "(no |sorry |)(that's|that is|this is|it's) (wrong|not right|not correct|not true|not it)",
            "(no |)(that's|that is) not what i (said|asked|want|wanted|was asking)",
            "(no |)i (didn't|did not) (say|ask|mean) that",
            "(no |)you (misunderstood|got that wrong|got me wrong|don't understand|didn't understand)( me|)",
            "(no |)i (said|asked for|asked|meant|wanted) (something else|something different|another thing)",
            "(no |)i (said|meant) ({day}|{name})",
            "what do you mean( by that|)",
            "i don't (understand|get it|know what you mean)",
        ],
    ),
    "human": (
        80,
        [
            "{want} (talk|speak) (to|with) (a person|a human|someone|somebody|a real person|the manager|your boss)( please|)",
            "(can|could|may) i (talk|speak) (to|with) (a|an|the|another) (person|human|manager|operator|agent|colleague)",
            "(connect|transfer|put) me (to|through to|with) (a|the) (person|human|manager|human being|colleague)",
            "is there (anyone|anybody|someone|a person|a human) (else |)(i can talk to|i can speak with|there)",
            "(a human|an operator|the manager|a real person) please",
        ],
    ),
    "thanks": (
        70,
        [
            "(okay |great |)(thanks|thank you)( so much| very much| very much indeed| a lot| again|)",
            "(thanks|thank you)( so much| very much|) for (your|the) (help|time|information|call)",
            "(that's|that is|that was) (very |)(kind|nice|helpful|good)( of you| thank you| thanks|)",
            "(you have been|you were|that was) (very |)helpful( thank you|)",
        ],
    ),
    "bye": (
        90,
        [
            "(okay |thank you |thanks |well |)(bye|goodbye|bye bye)( then| now|)",
            "(goodbye and |bye |)(have a|enjoy your) (nice|good|great|lovely) (day|evening|weekend|afternoon)( bye|)",
            "(see you|talk to you) (later|soon|tomorrow|on {day}|then)( bye|)",
            "(i have to|i've got to|i must|i need to|i should) (go|leave|hang up|run)( now|)( bye|)",
            "(that's all|that was all|that's everything) (bye|goodbye|thank you goodbye)",
            "(good night|take care)( bye|)",
        ],
    ),
    "backchannel": (30, ["(uh huh|mm hmm|hm|huh|um|uh|i see|oh|oh okay|ah)"]),
}


def sentences() -> list[str]:
    """
    What a caller may say, one lower-case sentence without punctuation each, repeated by how likely it is.

    The same every time: recognition should not depend on the day.
    """
    random = Random(1)
    result: list[str] = []
    for count, templates in _TEMPLATES.values():
        share = count // max(1, len(templates))
        for template in templates:
            expanded = sorted({" ".join(text.split()) for text in _expand(template)})
            random.shuffle(expanded)
            # All of a small template, several times over; a sample of a large one.
            result += [expanded[index % len(expanded)] for index in range(max(share, min(len(expanded), 40)))]
    for count in range(_TEMPLATES["number"][0]):
        digits = " ".join(random.choice(list(DIGITS)) for _ in range(random.choice([1, 2, 3, 4, 5, 6, 7, 10])))
        opening = ("", "it's ", "my number is ", "my phone number is ", "the number is ", "call me at ")
        result.append(opening[count % len(opening)] + digits)
    prefixes = "hi|hello|hey|okay|so|well|um|uh|and|sorry|yes|no|oh|good morning|hello there|excuse me|please".split(
        "|"
    )
    suffixes = "please|thank you|thanks|then|today|for me|right now".split("|")
    result += [f"{random.choice(prefixes)} {text}" for text in random.sample(result, len(result) // 8)]
    result += [f"{text} {random.choice(suffixes)}" for text in random.sample(result, len(result) // 16)]
    # Any name and any day can stand where one of them can: the samples above may miss some.
    result += [text for name in NAMES for text in (f"my name is {name}", name)]
    result += [text for day in _CHOICES["day"] for text in (day, f"on {day}", f"{day} please", f"for {day}")]
    result += ["a m", "p m", *(f"{hour} o'clock" for hour in _CHOICES["hour"]), *_CHOICES["hour"]]
    return result


def _expand(template: str) -> Iterator[str]:
    parts = re.split(r"(\([^()]*\)|\{\w+\})", template)
    for chosen in product(*(_alternatives(part) for part in parts)):
        yield "".join(chosen)


def _alternatives(part: str) -> list[str]:
    if part.startswith("("):
        return [text for choice in part[1:-1].split("|") for text in _expand(choice)]
    return _CHOICES[part[1:-1]] if part.startswith("{") else [part]


# How it is understood

_NUMBER_WORD = rf"(?:{'|'.join(DIGITS)}|double)"
_NAME_WORD = rf"(?:{'|'.join(NAMES)})"
_DAY_WORD = rf"(?:{'|'.join(DAYS)})s?"

_PATTERNS: dict[str, list[tuple[float, str]]] = {
    # intent: weight and pattern; the weights of the patterns that match are added. Earlier intents win a tie.
    "bye": [
        (3, r"(good)?bye|good night|take care|see you|talk to you (later|soon)|have a \w+ (day|evening|weekend)"),
        (2, r"(have to|got to|must|need to|should) (go|leave|hang|run)"),
    ],
    "human": [
        (
            3,
            r"(talk|speak|speaking|talking|connect|transfer|put)\b.*\b(human|person|someone|somebody|manager|operator|agent|boss|colleague)",
        ),
        (1.6, r"human|operator|manager|representative|colleague|(person|someone|somebody) (i|to|who)\b"),
        (-3, r"am i (talking|speaking)"),
    ],
    "who": [
        (
            2.5,
            r"robot|computer|machine|recording|(are you|is this|you are|talking to|speaking with) (some kind of |an? )?(real |human )?(real|human|person|artificial|ai)",
        ),
        (2.5, r"who (are|is) (you|this|that|calling)|who am i|what is your name|your name"),
    ],
    "about": [
        (
            3,
            r"(about|describe|introduce) (you\b|yourself|harper|this (house|place)|the house)|(who|what) is harper|what (exactly )?are you( exactly)?$",
        ),
        (2, r"(what|how) do you do\b|tell me (something|everything|more|a story|your story)"),
    ],
    "joke": [(3, r"jokes?|laugh|funny"), (1, r"another one|one more")],
    "weather": [
        (3, r"weather|rain\w*|sunny|snow\w*|umbrella|coat|forecast"),
        (1.2, r"(hot|cold|warm|nice)\b.*\b(outside|out|there|here|today|tomorrow)"),
    ],
    "wrong": [
        (
            3,
            r"not what|misunderst\w+|got (that|me) wrong|(did not|didn't) (say|mean|ask)|not (right|correct|true)|is wrong|that's wrong",
        ),
        (2, r"wrong|what do you mean|i (said|meant)|something (else|different)|(do not|don't) understand"),
    ],
    "repeat": [
        (
            3,
            r"(say|tell me|repeat)\b.*\b(again|more time|once more)|repeat|pardon|come again|what was that|did you (just )?say",
        ),
        (
            2.5,
            r"(did not|didn't|could not|couldn't|can't) (hear|catch|get|understand)|speak (up|slower|louder|more)|once more|one more time",
        ),
        (1, r"again|excuse me|^(sorry )?what$|^sorry$"),
    ],
    "wait": [
        (3, r"hold on|hang on|wait|(a|one|just a) (second|moment|minute)|let me (think|check|see)|interrupt|stop"),
        (2, r"be quiet|enough|shut up|moment|second|ask something|say something"),
    ],
    "how_are_you": [
        (
            2.5,
            r"how (are|is|'s) (you|it going|things|everything|life)( |$)|how are you|how do you feel|your day|going today|you doing|everything going",
        )
    ],
    "hear_me": [(3, r"hear me|(any(one|body)|some(one|body)) (here|there|at home|on)|are you (still )?there")],
    "name": [
        (3, rf"my name( is|'s)|spell|call me (?!back|later|tomorrow)|(i am|i'm|this is|it is|it's) {_NAME_WORD}"),
        (1.5, rf"{_NAME_WORD}|my name"),
    ],
    "number": [
        (3, r"(phone|telephone|my|the) number|my (tele)?phone"),
        (2.5, rf"({_NUMBER_WORD} ){{2,}}{_NUMBER_WORD}"),
        (0.8, rf"^{_NUMBER_WORD}( {_NUMBER_WORD})?$"),
    ],
    "booking": [
        (3, r"book(ing)?|reserv\w+|appointment|order|rent"),
        (2, r"cancel|reschedule|(call|ring) me back|leave a message|available"),
        (1.2, r"(\w+) (people|persons|guests|nights)|table|meeting|half an hour|an hour|o'clock|[ap] m$|thirty"),
        (1, r"i('d| would) like to|buy|pizza"),
    ],
    "price": [
        (3, r"how much|price\w*|costs?|charges?|cheap\w*|expensive|discounts?|offer|rates?|dollars?|fee|money"),
        (1, r"\bpay|free"),
    ],
    "address": [
        (
            3,
            r"address|location|located|directions|parking|park|street|part of town|(can not|can't|cannot) find|which (bus|train)|get there|find you|get to you",
        ),
        (2.5, r"\bwhere\b|(how (do|can) i (get|come))"),
        (1, r"bus|train|station|far|near\w*|city|downtown"),
    ],
    "hours": [
        (3, r"\b(open|opening|opens|closed?|closes|closing|shut|shuts|hours|opening times|work (on|at|late))\b"),
        (
            1.5,
            rf"when (are|do|does|is|will) (you|it|the)|what time (can|should|may|are|do) (i|you)|{_DAY_WORD}|weekends?|weekdays?|holidays?",
        ),
        (0.7, r"\b(this|in the|on) (morning|afternoon|evening)|tonight|tomorrow|today"),
    ],
    "time": [(3, r"what time is it|(what is|what's) the (time|date)|what day is|the time")],
    "help": [
        (
            3,
            r"help (me|with)|(can|could|should) (you|i) (do|ask|say)|able to|options|choices|i have a question|information|(sort|kind|kinds) of (questions|things)",
        ),
        (1, r"help|question|what do you know|what can"),
    ],
    "thanks": [(2, r"thanks?|thank you|very much|kind of you"), (1, r"helpful|kind|indeed")],
    "fine": [(1.2, r"i'm (fine|good|well|great|okay|doing)|i am (fine|good|well|great|okay)")],
    "no": [
        (
            1.1,
            r"^(no|nope|nah|not really|never mind|nothing)\b|don't think so|that's (all|it|everything)|nothing else|not (now|yet)",
        ),
        (0.3, r"\bno\b"),
    ],
    "yes": [
        (
            1,
            r"^(yes|yeah|yep|sure|okay|ok|right|correct|exactly|perfect|great|alright|absolutely|good|nice|fine)\b|go ahead|of course|sounds|think so|please do|that's (right|fine|good|correct|great)|i see|got it|why not|interesting",
        )
    ],
    "backchannel": [(0.9, r"^(mm|mhm|mm-hm|uh|hm|hmm|huh|um|ah|oh|aha)( (huh|hmm|okay|uh|hm|mm))?$")],
    "hello": [(0.8, r"\b(hello|hi|hey|good (morning|afternoon|evening))\b")],
}
_COMPILED = {
    intent: [
        (weight, re.compile(pattern if pattern.startswith("^") else rf"\b(?:{pattern})\b"))
        for weight, pattern in patterns
    ]
    for intent, patterns in _PATTERNS.items()
}


def intent_of(text: str) -> str:
    """What the caller wants, one of the intents above, or ``"unclear"``. Casing and punctuation do not matter."""
    words = _plain(text)
    scores = {
        intent: sum(weight for weight, pattern in patterns if pattern.search(words))
        for intent, patterns in _COMPILED.items()
    }
    best = max(scores, key=lambda intent: scores[intent])
    return best if scores[best] >= 0.7 else "unclear"


def _plain(text: str) -> str:
    """Lower-case words, digits spelled out one by one."""
    text = text.lower().replace("’", "'")
    text = re.sub(r"\d", lambda digit: f" {DIGIT_WORDS[digit.group()]} ", text)
    return " ".join(re.findall(r"[a-z']+", text))
