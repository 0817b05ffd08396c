"""What Whisper invents about noise is dropped, and what a caller says is believed."""

import math

import pytest

from inference.whisper.hallucinations import Hypothesis, Reason, is_sure, objection


def hypothesis(text, *, speech=1.5, logprob=-0.3, no_speech=0.1, runaway=False):
    return Hypothesis(text, speech, logprob, no_speech, (), runaway)


@pytest.mark.parametrize(
    ("invention", "reason"),
    [
        (hypothesis("Yes.", speech=0.08), Reason.TOO_SHORT),
        (hypothesis(""), Reason.NO_WORDS),
        (hypothesis(" ... "), Reason.NO_WORDS),
        (hypothesis("Hello.", logprob=math.nan), Reason.NOT_FINITE),
        (hypothesis("", runaway=True), Reason.RUNAWAY),
        (hypothesis("Thank you.", no_speech=0.8), Reason.STOCK_PHRASE),
        (hypothesis("Bye.", logprob=-1.2), Reason.STOCK_PHRASE),
        (hypothesis("you", speech=0.5, logprob=-0.9, no_speech=0.97), Reason.STOCK_PHRASE),
        (hypothesis("So.", speech=0.5, logprob=-1.1), Reason.STOCK_PHRASE),
        (hypothesis("Thanks for watching!", logprob=-1.2), Reason.STOCK_PHRASE),
        (hypothesis("Untertitelung des ZDF, 2020", speech=0.4), Reason.STOCK_PHRASE),
        (hypothesis("Sous-titres réalisés par la communauté d'Amara.org", speech=0.5), Reason.STOCK_PHRASE),
        (hypothesis("I would like to come.", no_speech=0.8, logprob=-1.1), Reason.NO_SPEECH),
        (hypothesis("I'm", speech=0.3, logprob=-1.73, no_speech=0.4), Reason.NO_SPEECH),
        (hypothesis("I'm not sure if I can get out of here.", logprob=-1.76, no_speech=0.33), Reason.NO_SPEECH),
        (hypothesis("Oh", logprob=-1.27, no_speech=0.58), Reason.STOCK_PHRASE),
        (hypothesis("one two three four five six seven eight nine ten", speech=1.0, logprob=-1.1), Reason.TOO_FAST),
        (hypothesis("one two three four five six seven eight nine ten", speech=1.0, no_speech=0.7), Reason.TOO_FAST),
        (hypothesis("no " * 40, speech=9.0), Reason.REPETITION),
        (hypothesis("हाँ " * 40, speech=9.0), Reason.REPETITION),
    ],
)
def test_what_whisper_invents_about_noise_is_not_believed(invention, reason):
    assert objection(invention) is reason


@pytest.mark.parametrize(
    "words",
    [
        hypothesis("Two.", speech=0.12),
        hypothesis("Yes.", speech=0.3, no_speech=0.7),
        hypothesis("Yes, it is.", speech=0.3),
        hypothesis("you", speech=0.3),
        hypothesis("Thank you.", speech=0.3),
        hypothesis("Bye!", speech=0.2),
        hypothesis("Vielen Dank.", speech=0.4),
        hypothesis("No, no, no, no, no, no, no, no, no, no, no, no.", speech=3.0),
        hypothesis("five five five five five five five five", speech=2.5),
        hypothesis("A, B, C, D, E, F, G", speech=1.5),
        hypothesis("மைசூர் செல்ல வேண்டும் என் மனைவியும் வர முடியாது எனவே தயவுசெய்து சொல்லுங்கள் " * 2, speech=6.0),
        hypothesis("What time do you open?", no_speech=0.9),
        # Tiny models are right about these, and doubt the spelling of a short answer more than its words.
        hypothesis("8", speech=0.3, logprob=-1.42, no_speech=0.61),
        hypothesis("six", speech=0.3, logprob=-1.3, no_speech=0.86),
        hypothesis("Montreal.", speech=0.7, logprob=-1.8, no_speech=0.13),
        # The model has no doubt, so the words were soft, and not too many.
        hypothesis("Drop the two when you add the figures.", speech=0.32, logprob=-0.09),
        hypothesis("My number is five five five, oh one oh one.", speech=1.6),
        hypothesis("Können Sie mich verbinden?"),
        hypothesis("明日の予約を変更したいのですが。"),
    ],
)
def test_what_a_caller_says_is_believed(words):
    assert objection(words) is None


def test_confidence_is_the_mean_probability_of_a_token():
    assert hypothesis("Yes.", logprob=-0.1).confidence == pytest.approx(0.905, abs=0.001)
    assert hypothesis("Yes.", logprob=0.001).confidence == 1
    assert hypothesis("Yes.", logprob=math.nan).confidence == 0


@pytest.mark.parametrize(
    ("words", "hotwords", "sure"),
    [
        (hypothesis("Okafor.", logprob=-0.2, no_speech=0.05), True, True),
        (hypothesis("Okafor", logprob=-0.67, no_speech=0.05), True, False),
        (hypothesis("Okafor", logprob=-0.2, no_speech=0.47), True, False),
        (hypothesis("Seven.", logprob=-0.67, no_speech=0.47), False, True),
        (hypothesis("Kevin.", logprob=-0.99), False, False),
    ],
)
def test_a_doubtful_text_needs_a_second_attempt_and_sooner_if_hotwords_may_have_led_to_it(words, hotwords, sure):
    assert objection(words) is None
    assert is_sure(words, hotwords=hotwords) is sure
