"""What the agent has asked for, by its last words, in seven languages."""

from __future__ import annotations

import pytest

from media.turns.expectation import NOTHING, Expectation, Kind, expectation_of
from media.turns.lexicon import lexicon_of


def expected(agent_said: str, language: str = "en") -> Expectation:
    lexicon = lexicon_of(language)
    assert lexicon is not None
    return expectation_of(agent_said, lexicon)


@pytest.mark.parametrize(
    ("agent_said", "kind"),
    [
        ("How can I help?", Kind.OPEN),
        ("Which office is it?", Kind.OPEN),
        ("Shall I book it?", Kind.YES_OR_NO),
        ("Okay, and is that right?", Kind.YES_OR_NO),
        ("Do you want me to take your number off our list?", Kind.NUMBER),
        ("Would you like the black one or the blue one?", Kind.CHOICE),
        ("What is your account number?", Kind.NUMBER),
        ("Please read me the code on the back.", Kind.NUMBER),
        ("What's your phone number?", Kind.TELEPHONE),
        ("Please tell me your telephone number.", Kind.TELEPHONE),
        ("I'll need your mobile number.", Kind.TELEPHONE),
        ("Could I have the best number to reach you?", Kind.TELEPHONE),
        ("Give me your phone number, please. Take your time.", Kind.TELEPHONE),
        ("What date would suit you?", Kind.DATE),
        ("When were you born?", Kind.BIRTH),
        ("Can I take your date of birth?", Kind.BIRTH),
        ("What time would you like to come?", Kind.TIME),
        ("Could you tell me your name?", Kind.NAME),
        ("Who am I speaking to? I'm Anna.", Kind.NAME),
        ("Could you spell that?", Kind.SPELLING),
        ("Please spell your last name for me.", Kind.SPELLING),
        ("Please tell me your e-mail address.", Kind.EMAIL),
        ("Please tell me your e-mail address. You can spell it if you like.", Kind.EMAIL),
        ("May I have your address?", Kind.ADDRESS),
        ("Where do you live?", Kind.ADDRESS),
        ("We have your telephone number.", Kind.NOTHING),
        ("We open at nine.", Kind.NOTHING),
        ("What is your name? Before you answer, let me say that we record this call for training.", Kind.NOTHING),
        ("", Kind.NOTHING),
    ],
)
def test_a_question_or_an_imperative_says_what_the_agent_expects(agent_said, kind):
    assert expected(agent_said).kind is kind


@pytest.mark.parametrize(
    ("language", "telephone", "email", "date", "time", "yes_or_no"),
    [
        (
            *("de", "Wie ist Ihre Telefonnummer?", "Nennen Sie mir bitte Ihre E-Mail-Adresse."),
            *("Welches Datum passt Ihnen?", "Um wie viel Uhr?", "Ist das richtig?"),
        ),
        (
            *("es", "Dígame su número de teléfono.", "¿Cuál es su correo electrónico?"),
            *("¿Qué fecha le viene bien?", "¿A qué hora?", "¿Es correcto?"),
        ),
        (
            *("fr", "Quel est votre numéro de téléphone ?", "Donnez-moi votre adresse e-mail."),
            *("Quelle date vous convient ?", "À quelle heure ?", "Est-ce que c'est bon ?"),
        ),
        (
            *("it", "Mi dica il suo numero di telefono.", "Qual è il suo indirizzo e-mail?"),
            *("Quale data preferisce?", "A che ora?", "È corretto?"),
        ),
        (
            *("nl", "Wat is uw telefoonnummer?", "Mag ik uw e-mailadres?"),
            *("Welke datum komt u uit?", "Hoe laat?", "Klopt dat?"),
        ),
        (
            *("pt", "Qual é o seu número de telefone?", "Pode me dizer o seu e-mail?"),
            *("Que data prefere?", "A que horas?", "Está correto?"),
        ),
    ],
)
def test_it_is_found_in_other_languages(language, telephone, email, date, time, yes_or_no):
    asked = (telephone, email, date, time, yes_or_no)
    kinds = [Kind.TELEPHONE, Kind.EMAIL, Kind.DATE, Kind.TIME, Kind.YES_OR_NO]
    assert [expected(question, language).kind for question in asked] == kinds


@pytest.mark.parametrize(
    ("agent_said", "digits"),
    [
        ("Please read me your six-digit code.", 6),
        ("What are the last four digits?", 4),
        ("Please enter the 8 digits.", 8),
        ("What is your card number?", 16),
        ("What's your zip code?", 5),
        ("What is your account number?", 0),
    ],
)
def test_the_agent_may_name_how_many_digits(agent_said, digits):
    found = expected(agent_said)
    assert found.kind is Kind.NUMBER
    assert found.digits == digits


def test_a_question_whether_something_is_right_is_answered_with_yes_or_no():
    assert expected("Is that your phone number?").confirms
    assert not expected("Can I have your phone number?").confirms
    assert not expected("What is your phone number?").confirms


def test_without_a_question_nothing_is_expected():
    assert expected("We open at nine. See you then.") == NOTHING
    assert not NOTHING.asked
