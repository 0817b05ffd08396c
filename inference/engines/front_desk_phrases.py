"""
Lists what a caller may say to the front desk: the text from which the recogniser's language model is built.

A language model this small (about 7,500 sentences of 490 words) recognises what it was built from and little else. This
makes a recogniser without a download good enough for a guided demonstration. ``front_desk`` answers these sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

DIGITS = {
    word: str(value)
    for value, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
} | {"oh": "0"}
DIGIT_WORDS = {digit: word for word, digit in DIGITS.items() if word != "oh"}
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
NAMES = (
    "adam alex alice amy andrea andrew angela anna anthony barbara ben betty brian carol charles chris christine "
    "daniel david deborah diana donna edward elizabeth emily emma eric eva frank george hannah helen jack jacob james "
    "jane jason jennifer jessica john joseph julia karen kate kevin laura linda lisa lucy maria mark martin mary "
    "matthew michael michelle nancy nicole oliver olivia patricia patrick paul peter rachel rebecca richard robert "
    "ruth sam sandra sarah sophie stephen steven susan theo thomas tom victoria walter william"
).split()

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

_TEMPLATES = """
hello 60
    (hi|hello|hey)( there|)
    good {part}
    (hello|hi) is this (the front desk|harper hall)
how_are_you 40
    (hi|hello|and|) how are you( doing|)( today|)
    how (is it|are things|is everything|is your day|was your day) (going|doing)( today|)
fine 30
    i'm (fine|good|well|great|okay|doing fine)( thank you| thanks|)( and you| how are you|)
hear_me 40
    (hello |)can you hear me( now|)
    are you (still |)(there|on the line)
    is (there |)(anyone|anybody|someone|somebody) (there|here|at home|on the line)
    hello hello
about 60
    (can you|could you|please|) tell me (something |more |a little |all |)about (you|yourself|harper hall)
    (who|what) (is harper hall|are you exactly)
    what do you do( there| here| all day|)
    (i'd like|i want) to (know|hear) (more|something) about (you|yourself|the house)
    tell me (a story|your story|everything)
who 50
    who are you
    who is this
    who am i (talking|speaking) (to|with)( please|)
    (are you|am i talking to) (a|some kind of) (robot|computer|machine|person|human)( or a person| or a machine|)
    (are you|am i talking to) a real (person|human)( or a computer| or a robot|)
    is this (a|an) (robot|recording|computer|real person|person)
    are you (real|human|a human being)
    what('s| is) your name
help 60
    what (else |)can (you|i) (do|ask|say)( for me| you|)
    what are you able to (do|tell me|help with)( for me|)
    what (questions|things|kinds of things) (can|may|should) i ask( you|)
    (what|how) can you help me( with|)
    (can you|could you) help me( with something| please|)
    i need (some |) help( with something|)
    what (sort|kind) of (questions|things) (can|do) (i|you) (ask|do|know|answer)
    what are my (options|choices)
    what do you know( about|)
    i have a question( for you|)
    i need some information
hours 160
    (when|what time|what days) (do|are|will) you (open|close|be open)( on {day}| {day}| in the {part}| tonight|)
    what are (your|the) (opening |business |office |)(hours|times)( on {day}| for {day}|)
    are you (open|closed|there) (on {day}|{day}|on {days}|now|right now|at {hour}|in the {part}|today|tonight)
    (do|can) you (open|close|work) (on {day}|on {days}|at {hour}|in the {part})
    how (late|long|early) are you open( on {day}| {day}| tonight|)
    (until|till) (when|what time) (are you open|can i come|can i visit( you|)|do you work)( {day}| on {day}|)
    (when|what time) do you (shut|finish|start|begin)( {day}| tonight| on {day}|)
    (do|will) you (ever |)(open|close|work|shut) (late|early|on {days})
    when (does|is|will) (it|the office|the front desk|the desk|the house) (open|close|be open)
    i (want|need|would like) to know your (opening|) hours
    (and|how about|what about) (on |) ({day}|{days})( {part}|)
    what time (can|should) i come( in| by| over|)( on {day}| {day}|)
    (in the|this) {part}
    (on|for|this|next) {day}
address 110
    where (are you|is your office|is the office|is it|is harper hall|is the house)( located| exactly|)
    where (can|do|could|should) (i|we) (find|go|come|park|leave) (you|my car|to|it)
    where (exactly |)(is|are) (your|the) (house|place|office|building|front desk|rooms)
    i (would like to|want to|need to) (know|have) (your|the) (address|street|location|way)
    what('s| is) (the|your) (address|street|location)
    (can|could) you (give|tell|send) me (the|your) (address|location|directions)( please|)
    how (do|can|would) (i|we) (get|come|go|drive|walk) (there|to you|to harper hall|to your house|to your office)
    how (do|can) i (get|come) (there|to you) (by bus|by car|by train|from the station|from downtown)
    is there (parking|a parking lot|a bus|a train|a station)( near you| nearby| there|)
    (do you|does it) have (parking|a parking lot)
    (which|what) (bus|train|part of town|city|street) (is it|are you|is that)( in| on|)
    i can't find (you|the house|your office|it)
    are you (far|near|close to|next to) (the station|downtown|here|the city)
price 110
    (how much|what) (is|does|do|would|will) (it|that|this|a room|the room|a coffee|you) (cost|charge)( me|)
    how much (is|are) (it|that|a room|a meeting room|a coffee|your rooms|the rooms)( for {few} hours| for a day|)
    what('s| is| are) (the|your) (price|prices|cost|rates)( of a room| for a room| for {few} people|)
    (tell me|i need|give me) (the|your) (price|prices|rates)
    (do|can) you (have|give me) (a|any) (discount|special offer|cheaper room)
    is (there|that) (anything|something|) cheaper
    (is it|is that|are you|that's) (very |too |) (cheap|expensive|free)
    how much (do|would|will) i (have to |) pay( for {few} hours|)
    what do i (have to |) pay( for a room|)
    how (many|much) (dollars|money)( is it| an hour|)
weather 70
    what('s| is) the weather( like|)( today| tomorrow| there| on {day}|)
    how('s| is| will be) the weather( today| tomorrow| on {day}| there|)
    (will|does|is) it (be |) (rain|raining|sunny|cold|warm|snow|snowing|hot)( today| tomorrow| on {day}| there|)
    (do|will) i need (an umbrella|a coat)( today| tomorrow|)
    is it (going to be|) (nice|cold|warm|hot|sunny) (outside|out there|over there|today|tomorrow)
    it's (going to rain|raining|cold) (here|today)
joke 50
    (can you |please |)tell me (a|another|a good|a funny|another funny) joke
    i('d love| would love| want| would like) to hear (a joke|another joke|something funny)
    (do|can) you (know|tell) (a joke|some jokes|something funny)
    (say|tell me) something (funny|interesting|nice)
    (i want to|let me) (laugh|hear a joke|hear another one)
    (another|one more) (joke|one)( please|)
    (that was|that's|very) funny
name 150
    (my name is|my name's|i'm|i am|this is|it's|call me) {name}
    (my name is|this is) {name} (calling|speaking)
    (yes|okay|sure|hello|hi|good {part}) (this is|it's|my name is) {name}
    {name}
    (can|could|would) you (please |) spell (my name|it|that|{name}|the name|that name)( for me| back| please|)
    (please |) spell {name}
    (how do you spell|how is) {name}( spelled|)
    do you (know|remember|have) my name
    what('s| is) my name
number_ask 40
    (can|could|may) (i|you) (give you|take|repeat|read back) (my|the) (phone number|number|telephone number)
    (take|write) (down |) my (phone |) number( please|)
    (i'd like|i want) to (give|leave) you (my|a) number
    what (was|is) (my|the) number( again|)
booking 170
    {want} (book|reserve|get|have) {what}( for {few} people| for {day}| on {day}| {day}| at {hour}|)( please|)
    (book|reserve) {what}( please|)
    {want} (make|change|cancel|move) (a|my|the) (reservation|booking|appointment)( please| to {day}| for {day}|)
    (can|could) you (book|change|cancel|reserve) (it|that|{what}|my reservation|my booking)( for me|)
    (do you have|is there|have you got) (a|any|anything) (room|rooms|table|free|space)( free| available|)( on {day}|)
    {few} (people|persons|guests)
    for {few} (people|persons|hours|nights)( please|)
    (half an|an|one) hour
    ({hour}|at {hour}) (a m|p m|o'clock)
    {hour} thirty( a m| p m|)
    at {hour} thirty
    {want} (order|buy|rent|pay for) (a room|a pizza|a (large |small |)coffee|something|my room)
    i have a (reservation|booking|appointment)( for {day}| on {day}| at {hour}|)
    (please|can you) call me (back|tomorrow|later|on {day})
    {want} leave a message
time 30
    what time is it( now|)
    what('s| is) the (time|date)( now| today|)
    what day is (it|today)
yes 120
    (yes|yeah|yep|sure|okay|right|correct|exactly|perfect|great|absolutely|of course|go ahead|alright)
    (yes|yeah|sure|okay) (please|thank you|that's right|that's correct|that would be nice|go ahead|it is)
    that('s| is) (right|correct|fine|good|great|okay)
    (sounds|that sounds) (good|great|fine|nice)
    (i think so|why not|please do|i see|got it|good|nice|very good|that's interesting)
no 80
    (no|nope|not really|no thanks|no thank you|never mind|not now|not yet|nothing)
    (i don't think so|not today|no it's not|no it isn't|maybe later)
    (no |)(that's|that was|that is) (all|it|everything)( thanks| thank you| for now|)
    (nothing|no nothing) else( thanks| thank you|)
repeat 90
    (sorry|excuse me|pardon|what|pardon me|what was that|come again|excuse me what)
    (sorry |please |){ask} (say|repeat) (that|it)( again| once more| one more time|)( please|)
    (please |)(say|repeat) (that|it|the last part)( again| please|)
    (i'm sorry |sorry |)(i didn't|i did not|i couldn't) (hear|catch|get|understand) (you|that|it|what you said)
    (sorry|) what did you (just |) say
    {ask} speak (up|slower|more slowly|louder)( please|)
    (again|once more|one more time)( please|)
wait 90
    (wait|hold on|hang on|stop|one moment|just a moment|just a second)( please|)
    (wait|hold on|hang on) (a|one) (second|minute|moment)( please|)
    (just |)(give|let) me (a second|a minute|a moment|think|check|see)
    (i need|) (one|a) (second|minute|moment)( please|)
    (stop|stop it|stop talking|be quiet|enough|that's enough|okay stop|okay enough)
    (let me|can i) (interrupt you|ask something|say something|stop you there)
wrong 70
    (no |sorry |)(that's|that is|this is|it's) (wrong|not right|not correct|not true|not it)
    (no |)(that's|that is) not what i (said|asked|want|wanted|was asking)
    (no |)i (didn't|did not) (say|ask|mean) that
    (no |)you (misunderstood|got that wrong|got me wrong|don't understand|didn't understand)( me|)
    (no |)i (said|asked for|asked|meant|wanted) (something else|something different|another thing)
    (no |)i (said|meant) ({day}|{name})
    what do you mean( by that|)
    i don't (understand|get it|know what you mean)
human 80
    {want} (talk|speak) (to|with) (a person|a human|someone|somebody|a real person|the manager|your boss)( please|)
    (can|could|may) i (talk|speak) (to|with) (a|an|the|another) (person|human|manager|operator|agent|colleague)
    (connect|transfer|put) me (to|through to|with) (a|the) (person|human|manager|human being|colleague)
    is there (anyone|anybody|someone|a person|a human) (else |)(i can talk to|i can speak with|there)
    (a human|an operator|the manager|a real person) please
opt_out 70
    (please |)(take|remove) me (off|from) (your|the|this) list( please|)
    (could|can) you (please |)(take|remove) me (off|from) (your|the|this) list
    (please |)(don't|do not|never) call me( again| anymore|)( please|)
    (please |)stop calling me( please|)
    (please |)put me on your do not call list
    i don't want any more calls
thanks 70
    (okay |great |)(thanks|thank you)( so much| very much| very much indeed| a lot| again|)
    (thanks|thank you)( so much| very much|) for (your|the) (help|time|information|call)
    (that's|that is|that was) (very |)(kind|nice|helpful|good)( of you| thank you| thanks|)
    (you have been|you were|that was) (very |)helpful( thank you|)
bye 90
    (okay |thank you |thanks |well |)(bye|goodbye|bye bye)( then| now|)
    (goodbye and |bye |)(have a|enjoy your) (nice|good|great|lovely) (day|evening|weekend|afternoon)( bye|)
    (see you|talk to you) (later|soon|tomorrow|on {day}|then)( bye|)
    (i have to|i've got to|i must|i need to|i should) (go|leave|hang up|run)( now|)( bye|)
    (that's all|that was all|that's everything) (bye|goodbye|thank you goodbye)
    (good night|take care)( bye|)
backchannel 30
    (uh huh|mm hmm|hm|huh|um|uh|i see|oh|oh okay|ah)
"""
"""
An intent and about how many sentences it adds to the model, then its templates. ``(a|b|)`` is a choice, and ``{day}``
is a word from the list of that name above.
"""


def sentences() -> list[str]:
    """
    Return lower-case sentences without punctuation; a likely sentence occurs several times.

    They are the same each time, so that recognition is.
    """
    random = Random(1)
    result: list[str] = []
    for count, template in _counts_and_templates():
        expanded = sorted({" ".join(text.split()) for text in _expand(template)})
        random.shuffle(expanded)
        # All sentences of a small template, repeated; a sample of those of a large one.
        result += [expanded[index % len(expanded)] for index in range(max(count, min(len(expanded), 80)))]
    openings = ("", "it's ", "my number is ", "my phone number is ", "the number is ", "call me at ")
    for index in range(220):
        digits = random.choices(list(DIGITS), k=random.choice([1, 2, 3, 4, 5, 6, 7, 10]))
        result.append(openings[index % len(openings)] + " ".join(digits))
    result += [f"{random.choice(_OPENERS)} {text}" for text in random.sample(result, len(result) // 8)]
    result += [f"{text} {random.choice(_CLOSERS)}" for text in random.sample(result, len(result) // 16)]
    # Every name, day and hour at least once: the samples above may miss some.
    result += [text for name in NAMES for text in (f"my name is {name}", name)]
    result += [text for day in _CHOICES["day"] for text in (day, f"on {day}", f"{day} please", f"for {day}")]
    result += ["a m", "p m", *(text for hour in _CHOICES["hour"] for text in (hour, f"{hour} o'clock"))]
    return result


_OPENERS = "hi|hello|hey|okay|so|well|um|uh|and|sorry|yes|no|oh|good morning|hello there|excuse me|please".split("|")
_CLOSERS = "please|thank you|thanks|then|today|for me|right now".split("|")


def _counts_and_templates() -> Iterator[tuple[int, str]]:
    for block in re.split(r"\n(?=\w)", _TEMPLATES.strip()):
        head, *templates = block.splitlines()
        for template in templates:
            yield int(head.split()[1]) // len(templates), template.strip()


def _expand(template: str) -> Iterator[str]:
    """Yield every sentence of a template; the innermost choices are replaced first."""
    if group := re.search(r"\(([^()]*)\)|\{(\w+)\}", template):
        for choice in _CHOICES[group[2]] if group[2] else group[1].split("|"):
            yield from _expand(template[: group.start()] + choice + template[group.end() :])
    else:
        yield template
