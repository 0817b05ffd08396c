"""The agent waits while a number, a date or an e-mail address is dictated, and answers when it is whole."""

from __future__ import annotations

import pytest

from media.turns.endpointing import ADDRESS, COMPLETE, UNFINISHED, Endpointing

TELEPHONE = "What is your phone number?"
TOLD = "Please tell me your e-mail address."
SPELL = "Could you spell your last name?"
BIRTH = "What is your date of birth?"
DATE = "What date would suit you?"
SIX = "Please read me your six-digit code."


def wait(text: str, agent_said: str, language: str = "en") -> float:
    # Recognisers end parts of numbers with a full stop.
    return Endpointing(language).judge(text, agent_said=agent_said, stop_counts=False).wait


@pytest.mark.parametrize(
    ("agent_said", "text"),
    [
        (TELEPHONE, "four fifteen"),
        ("I'll need your phone number.", "four fifteen"),
        ("Give me your telephone number, please.", "four"),
        (TELEPHONE, "four fifteen five five five"),
        (TELEPHONE, "it's double four"),
        (TELEPHONE, "five five double"),
        (TELEPHONE, "one eight hundred"),
        (TELEPHONE, "twenty one thirty two"),
        (TELEPHONE, "oh two oh"),
        (TELEPHONE, "415."),
        (TELEPHONE, "415-555."),
        (TELEPHONE, "plus four four twenty seven nine four six"),
        (TELEPHONE, "my number is"),
        ("Is that your phone number?", "no, it's four fifteen"),
        (TOLD, "it's john dot smith"),
        (TOLD, "John."),
        (TOLD, "john underscore smith at"),
        (TOLD, "john dot smith at gmail"),
        (TOLD, "j o h n at example dot co"),
        (TOLD, "capital j"),
        (SPELL, "Smith"),
        (SPELL, "s m i"),
        (SPELL, "b as in boy"),
        (SPELL, "b for bravo, o"),
        (SPELL, "capital b"),
        (SPELL, "double l"),
        (BIRTH, "the fifth of May."),
        (BIRTH, "March"),
        (DATE, "the fifth of"),
        (DATE, "in May"),
        ("What time suits you?", "half past"),
        (SIX, "one two three"),
        (SIX, "12345."),
        ("What are the last four digits of your card?", "forty two"),
        ("What is your account number?", "a b 1 2"),
    ],
)
def test_a_form_that_is_not_complete_gets_the_longest_wait(agent_said, text):
    assert wait(text, agent_said) == UNFINISHED


@pytest.mark.parametrize(
    ("agent_said", "text"),
    [
        (TELEPHONE, "four one five five five five oh one oh one"),
        (TELEPHONE, "four fifteen five five five oh one oh one"),
        (TELEPHONE, "It's 415-555-0101."),
        (TELEPHONE, "555-0123."),
        (TELEPHONE, "one eight hundred five five five oh one oh one"),
        (TELEPHONE, "oh seven seven double oh nine hundred one two three"),
        (TELEPHONE, "+44 20 7946 0958."),
        (TOLD, "john dot smith at gmail dot com"),
        (TOLD, "John.Smith@gmail.com."),
        (TOLD, "it's john at example dot co dot uk"),
        (TOLD, "j o h n at example dot c o m"),
        (SPELL, "Smith. S-M-I-T-H."),
        ("How do you spell Miller?", "m i double l e r"),
        (BIRTH, "the fifth of May 1985."),
        (BIRTH, "May fifth nineteen eighty five"),
        (BIRTH, "5/5/85"),
        (DATE, "the fifth of May"),
        (DATE, "May 5th."),
        (DATE, "next Monday"),
        ("What time suits you?", "3 pm"),
        ("What time suits you?", "2:30."),
        (SIX, "one two three four five six"),
        (SIX, "twelve thirty four fifty six"),
        ("What are the last four digits of your card?", "forty two seventeen"),
    ],
)
def test_a_complete_form_is_answered_at_once(agent_said, text):
    assert wait(text, agent_said) == COMPLETE


@pytest.mark.parametrize(
    ("agent_said", "text"),
    [
        (TELEPHONE, "five five five oh one two three"),
        (TELEPHONE, "four one five five five five oh one"),
        (DATE, "the fifth"),
    ],
)
def test_a_form_that_may_be_complete_waits_as_for_an_address(agent_said, text):
    assert wait(text, agent_said) == ADDRESS


@pytest.mark.parametrize(
    ("agent_said", "text"),
    [
        (TELEPHONE, "I don't have one"),
        (TELEPHONE, "I'd rather not say"),
        (TELEPHONE, "Why do you need that?"),
        (TOLD, "I don't have an e-mail address"),
        (TOLD, "no thanks"),
        ("Is that your e-mail address?", "yes it is"),
        (SPELL, "no"),
        ("How many will you be?", "42"),
    ],
)
def test_other_answers_are_judged_as_ever(agent_said, text):
    assert wait(text, agent_said) < ADDRESS


@pytest.mark.parametrize(
    ("language", "agent_said", "begun", "whole"),
    [
        (
            "de",
            "Wie ist Ihre Telefonnummer?",
            "null eins sieben eins",
            "null eins sieben eins vierunddreißig zwölf fünf sechs sieben",
        ),
        ("de", "Nennen Sie mir Ihre E-Mail-Adresse.", "anna punkt schmidt at", "anna punkt schmidt at web punkt de"),
        ("de", "Welches Datum passt Ihnen?", "im Mai", "am fünften Mai"),
        (
            "es",
            "Dígame su número de teléfono.",
            "seis uno dos",
            "seis uno dos treinta y cuatro cincuenta y seis setenta",
        ),
        ("es", "¿Cuál es su correo electrónico?", "juan punto perez arroba", "juan punto perez arroba gmail punto com"),
        ("es", "¿Qué fecha le viene bien?", "mayo", "el cinco de mayo"),
        (
            "fr",
            "Quel est votre numéro de téléphone ?",
            "zéro six douze",
            "zéro six douze trente-quatre cinquante-six soixante et onze",
        ),
        (
            "fr",
            "Donnez-moi votre adresse e-mail.",
            "marie point martin arobase",
            "marie point martin arobase orange point fr",
        ),
        ("fr", "Quelle date vous convient ?", "en mai", "le cinq mai"),
        (
            "it",
            "Mi dica il suo numero di telefono.",
            "tre tre otto ventuno",
            "tre tre otto ventuno quarantadue zero sette uno",
        ),
        (
            "it",
            "Qual è il suo indirizzo e-mail?",
            "maria punto rossi chiocciola",
            "maria punto rossi chiocciola libero punto it",
        ),
        ("it", "Quale data preferisce?", "maggio", "il cinque maggio"),
        (
            "nl",
            "Wat is uw telefoonnummer?",
            "nul zes twaalf",
            "nul zes twaalf vierendertig zesenvijftig achtenzeventig",
        ),
        ("nl", "Mag ik uw e-mailadres?", "jan punt bakker apenstaartje", "jan punt bakker apenstaartje ziggo punt nl"),
        ("nl", "Welke datum komt u uit?", "in mei", "vijf mei"),
        (
            "pt",
            "Qual é o seu número de telefone?",
            "onze nove oito",
            "onze nove oito sete seis cinco quatro três dois um",
        ),
        ("pt", "Pode me dizer o seu e-mail?", "joão ponto silva arroba", "joão ponto silva arroba sapo ponto pt"),
        ("pt", "Que data prefere?", "em maio", "cinco de maio"),
    ],
)
def test_forms_are_known_in_other_languages(language, agent_said, begun, whole):
    assert wait(begun, agent_said, language) == UNFINISHED
    assert wait(whole, agent_said, language) == COMPLETE
