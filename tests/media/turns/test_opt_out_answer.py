"""What callers answer to the question whether their number is to be taken off the list."""

from __future__ import annotations

from media.turns.opt_out_answer import Answer, judge_answer
from tests.rows import each_row

YES = """
yes
Yes.
yes please
yeah
yeah I do
yep
aye
sure
sure, thanks
okay
of course
of course I do
please
please do
please yes
do it
just do it
do that
you do that
absolutely
definitely
exactly
correct
that's right
that's what I said
that's what I want
that would be great
that'd be lovely
I do
I would
I want that
if you would
if you don't mind
go ahead
right
too right
uh-huh
mm-hmm
um yes
well yes
oh yes please
yes I told you already
yes I've asked three times
yes for God's sake
yes take me off
yes and never call again
yes don't call me again
yes right now
take me off
take me off your list
stop calling me
leave me alone
no more calls
never call me again
no, just stop calling me
"""
NO = """
no
No.
no thanks
no thank you
no no no
nope
nah
not at all
not really
no don't
don't
no I didn't mean that
no that's not what I meant
no I meant the waiting list
no leave it
no keep me on
keep me on the list
leave it
never mind
of course not
I don't
I don't want that
no you can call me
well no
um no I want to know when you open
"""
OTHER = """
what list
what do you mean
sorry what
which number
who are you
hello
I don't know
I don't care
yes but only in the mornings
yes and no
yeah no
no yes
yes but what about my booking
yes what time do you open
yes I'm calling about my order from last week
okay but wait
the one from last week
my name is John
I want to speak to a person
[pressed 8]
"""
GOODBYE = """
goodbye
thanks bye bye now
well have a good day
take care now
I'm off, bye
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@each_row(
    ("words", "answer"),
    [
        (words, answer)
        for texts, answer in (
            (YES, Answer.YES),
            (NO, Answer.NO),
            (OTHER, Answer.OTHER),
            (GOODBYE, Answer.GOODBYE),
        )
        for words in lines(texts)
    ],
)
def test_the_answer_is_understood(words, answer):
    assert judge_answer(words) is answer


def test_words_without_a_letter_are_no_answer():
    assert judge_answer("") is judge_answer("...") is Answer.OTHER
