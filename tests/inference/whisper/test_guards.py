"""What is believed of what Whisper says, and on what two of its hypotheses agree."""

import math

import pytest

from inference.whisper.guards import Heard, Reason, agreed_text, agreed_tokens, objection


def heard(text, *, speech=1.5, logprob=-0.3, no_speech=0.1, runaway=False):
    return Heard(text, speech, logprob, no_speech, (), runaway)


@pytest.mark.parametrize(
    ("invention", "reason"),
    [
        (heard("Yes.", speech=0.2), Reason.TOO_SHORT),
        (heard(""), Reason.NO_WORDS),
        (heard(" ... "), Reason.NO_WORDS),
        (heard("Hello.", logprob=math.nan), Reason.NOT_FINITE),
        (heard("", runaway=True), Reason.RUNAWAY),
        (heard("Thank you.", speech=0.5), Reason.STOCK_PHRASE),
        (heard("Thanks for watching!", logprob=-1.2), Reason.STOCK_PHRASE),
        (heard("Untertitelung des ZDF, 2020", speech=0.4), Reason.STOCK_PHRASE),
        (heard("Sous-titres réalisés par la communauté d'Amara.org", speech=0.5), Reason.STOCK_PHRASE),
        (heard("I would like to come.", no_speech=0.8, logprob=-1.1), Reason.NO_SPEECH),
        (heard("one two three four five six seven eight nine ten", speech=1.0), Reason.TOO_FAST),
        (heard("no no no no no no no no no no no no no no no no no no no no no no no", speech=6.0), Reason.REPETITION),
    ],
)
def test_what_whisper_says_of_noise_is_not_believed(invention, reason):
    assert objection(invention) is reason


@pytest.mark.parametrize(
    "words",
    [
        heard("Yes.", speech=0.3),
        heard("Yes, it is.", speech=0.3),
        heard("Thank you.", speech=0.9),
        heard("What time do you open?", no_speech=0.9),
        heard("My number is five five five, oh one oh one.", speech=1.6),
        heard("Können Sie mich verbinden?"),
        heard("明日の予約を変更したいのですが。"),
    ],
)
def test_what_a_caller_says_is_believed(words):
    assert objection(words) is None


def test_confidence_is_the_mean_probability_of_a_token():
    assert heard("Yes.", logprob=-0.1).confidence == pytest.approx(0.905, abs=0.001)
    assert heard("Yes.", logprob=0.001).confidence == 1
    assert heard("Yes.", logprob=math.nan).confidence == 0


@pytest.mark.parametrize(
    ("before", "after", "agreed"),
    [
        ("", "I would", ""),
        ("I would", "I would like", "I would"),
        ("I would, like", "I would like to", "I would like"),
        ("i wood like", "I would like", "I"),
        ("I'd like", "I'd like two", "I'd like"),
    ],
)
def test_hypotheses_agree_on_their_common_beginning(before, after, agreed):
    assert agreed_text(before, after) == agreed


def test_a_language_without_spaces_agrees_by_characters():
    assert agreed_text("明日の予約は", "明日の予約を変更", spaced=False) == "明日の予約"


def test_tokens_agree_on_their_common_beginning():
    assert agreed_tokens([1, 2, 3], [1, 2, 4, 5]) == (1, 2)
    assert agreed_tokens([], [1]) == ()
