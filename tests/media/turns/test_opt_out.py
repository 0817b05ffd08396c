"""Which words ask never to be called again, and which only sound like it."""

from __future__ import annotations

import pytest

from media.turns.opt_out import asks_not_to_be_called

DEMANDS = """
take me off your list
Take me off your list.
please take me off of your list
could you please take me off your calling list
take me off the list
take me off this list now
just uh take me off your um list please
take me of your list
can you take me off all of your lists
take us off your list
take my number off your list
take my name off your call list please
take this number off your damn list
get me off this list
why don't you take me off your list
if you don't take me off your list I'll call the police
I want you to take me off your list
I'd like to be, no, take me off your marketing list
I told you to take me off your list
no thanks, take me off your list and have a nice day
would you mind taking, I mean take me off your list
remove me from your list
Remove me from this list, please.
please remove my number from your list
remove my phone number from your database
remove me from your records
remove me from your system right now
please remove my number
delete my number
delete me from your list
lose my number
put me on your do not call list
Put me on your do-not-call list.
please put my number on the do not call list
add me to your don't call list
I want to be on, put us on the national do not call registry
don't call me again
Don't call me again!
dont call me again
do not call me again
Don’t ever call me again.
please do not call me anymore
don't call me any more
don't call me
Please don't call me.
don't call me I'm not interested
don't call us again okay
don't call this number again
don't call here again
do not call here anymore
don't call my house again
don't ever call this number
don't phone me again
do not contact me again
don't bother me again
I said don't call me again
I told you don't call me again
and don't call back again
don't you ever call me again
don't you dare call me again
never call me again
never call again
never ever call me again
never call this number again
you should never call me again
stop calling me
Stop calling me!
stop calling
please stop calling me
can you stop calling me
would you please stop calling this number
stop calling here
stop calling my cell phone
stop calling us
stop calling me I told you already
stop calling me and take me off your list
stop calling me every day
stop phoning me
stop contacting me
quit calling me
quit calling my house
you people need to stop calling me
I want you to stop calling me
stop bothering me
no more calls
no more calls please
stop these calls
stop all the calls
stop with the robocalls
I don't want any more calls
I don't want to get any more of these calls
I don't want your calls
I do not want to receive any calls
I don't want to be called again
I don't want to be called
I do not wish to be contacted
I don't want you to call me again
I don't want you to call me
I don't want you people calling me
I don't want to hear from you again
I'm tired of you people calling me
unsubscribe
unsubscribe me
I want to unsubscribe please
opt me out
I want to opt out
how do I opt out
keep me off your list
how do I get off your list
I want off your list
I want to be taken off your list
could I be removed from your list
please do not call me at this number again
I asked you not to call me
don't bother calling again
get off my phone and never call me again
"""

OTHERS = """
hello
yes please
don't call me sir
don't call me Bob
do not call me a liar
don't call me stupid
don't call me that
stop calling me sir
stop calling me names
stop calling me a liar
can you call me again tomorrow
can you call me again
call me again
please call me back
call me anytime
you can call me on this number
don't call me before nine
don't call me after six
do not call me at work
don't call me at night please
don't call me tomorrow
don't call me on Sundays
don't call me until Friday
don't call me so early
don't call me again before nine
don't call me again today
don't call me again until Monday
don't call me if it rains
don't call me a taxi
never call me at night
take that off my list
take it off my list
take me off my list
take that off your list
take me off hold
take me off speaker
take me off the waiting list
take me off the guest list please
take me off the shopping list
put me on your list
put me on the waiting list
put me on the list
can I be on your list
what is on your list
remove the table from my order
remove that from the list
remove my booking
I was removed from the list
I get it, off the record, what is on the list
remove me from the meeting
delete my last message
don't take me off your list
please don't take me off the list
I don't want you to take me off your list
you don't have to take me off your list
did you take me off your list
have you taken me off your list
I never asked you to take me off your list
I didn't say take me off your list
don't stop calling me
you never call me anymore
they don't call me anymore
why do you never call me
who said stop calling me
I lost my number
what is my number
my number is five five five
don't hang up
I don't want a table
I don't want to call again
I don't need a call back, thanks
I don't want to be called sir
I don't want you to call me a cab
don't call the police
don't call my number before nine
don't call him
never mind
never again
stop
stop please
stop talking
please stop the music
I called you again
did you call me
why are you calling me
who is calling me
is there a do not call list
what does opt out mean
unsubscribe from the newsletter
I don't like to be called at work
I don't want any more coffee
no more questions
no more, thank you
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("text", lines(DEMANDS))
def test_a_plain_demand_is_recognised(text):
    assert asks_not_to_be_called(text)


@pytest.mark.parametrize("text", lines(DEMANDS))
def test_capitals_and_punctuation_do_not_matter(text):
    assert asks_not_to_be_called(text.upper())
    bare = text.lower().replace("-", " ")
    assert asks_not_to_be_called("".join(letter for letter in bare if letter.isalpha() or letter == " "))


@pytest.mark.parametrize("text", lines(DEMANDS))
def test_words_around_a_demand_do_not_matter(text):
    assert asks_not_to_be_called(f"no listen I am busy. {text}")


@pytest.mark.parametrize("text", lines(OTHERS))
def test_other_words_are_not_a_demand(text):
    assert not asks_not_to_be_called(text)


def test_an_empty_text_is_not_a_demand():
    assert not asks_not_to_be_called("")
