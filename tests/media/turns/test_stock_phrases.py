"""Each language has all the phrases that the agent says."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.turns.labels import asks_at_the_end
from media.turns.lexicon import lexicon_of
from media.turns.options import ConversationOptions
from media.turns.stock_phrases import PHRASE_OPTIONS, stock_phrases, tags_of

FOLDER = Path("media/turns/phrases")
LANGUAGES = sorted(path.stem for path in FOLDER.iterdir())
ENGLISH = ConversationOptions()


def texts(phrase: str | tuple[str, ...]) -> tuple[str, ...]:
    return (phrase,) if isinstance(phrase, str) else phrase


def test_the_phrases_are_those_that_have_an_english_default():
    assert {"still_there", "fillers", "goodbye"} <= PHRASE_OPTIONS
    assert not {"language", "greeting", "disclosure", "transfer_targets", "opt_out_key"} & PHRASE_OPTIONS
    said = {text for name in PHRASE_OPTIONS for text in texts(getattr(ENGLISH, name))}
    assert said == set(ENGLISH.stock_phrases)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_phrase(language):
    assert set(stock_phrases(language)) == PHRASE_OPTIONS


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_phrase_has_the_form_of_the_english_one(language):
    for name, phrase in stock_phrases(language).items():
        english = getattr(ENGLISH, name)
        assert type(phrase) is type(english), name
        assert len(texts(phrase)) == len(texts(english)), name
        for text, model in zip(texts(phrase), texts(english), strict=True):
            assert text.strip() == text, name
            assert text.endswith((".", "?")), name
            assert asks_at_the_end(text) == asks_at_the_end(model), name


def test_every_language_with_phrases_has_lists_of_short_words():
    assert all(lexicon_of(language) for language in LANGUAGES)


def test_a_region_has_its_own_phrases_or_those_of_the_language():
    assert tags_of("pt_BR") == ("pt", "pt-br")
    assert stock_phrases("de-CH") == stock_phrases("DE")
    assert stock_phrases("pt-BR")["still_there"] != stock_phrases("pt-PT")["still_there"]


@pytest.mark.parametrize("language", ["en", "pl", "", "../options", "de/../fr"])
def test_english_and_unknown_languages_have_no_file(language):
    assert stock_phrases(language) == {}
