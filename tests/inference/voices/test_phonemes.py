"""From text to phonemes: marks, words, and where each word ends in both."""

from itertools import pairwise

import pytest

from inference.voices.espeak_library import shared_library
from inference.voices.phonemes import phonemes_of


@pytest.fixture(scope="module")
def library():
    return shared_library()


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("Hello.", "həlˈoʊ."),
        ("Hello there, this is the desk.", "həlˈoʊ ðˈɛɹ, ðɪs ɪz ðə dˈɛsk."),
        ("Yes! No? Well; so: on", "jˈɛs! nˈoʊ? wˈɛl; sˈoʊ: ˈɔn,"),
        ("At 9.30.", "æt nˈaɪn pɔɪnt θɹˈiː zˈiəɹoʊ."),
        ("Wait... what?", "wˈeɪt. wˌʌt?"),
        ("Wait… “what?” — yes", "wˈeɪt. wˈʌt? jˈɛs,"),
        ("", ""),
        ("... !", ""),
    ],
)
def test_the_marks_that_carry_the_melody_are_kept(library, text, phonemes):
    assert phonemes_of(text, library, "en-us").text == phonemes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("We open at ten.", ["wiː", "ˈoʊpən", "æt", "tˈɛn"]),
        ("Open in the morning, yes.", ["ˈoʊpən", "ɪn", "ðə", "mˈɔːɹnɪŋ", "jˈɛs"]),
        ("Room 42 now", ["ɹˈuːm", "fˈɔːɹɾi tˈuː", "nˈaʊ"]),
    ],
)
def test_each_word_ends_behind_its_phonemes(library, text, words):
    phonemes = phonemes_of(text, library, "en-us")
    ends = [0, *(word.sample for word in phonemes.words)]
    assert [phonemes.text[begin:end].strip(", ") for begin, end in pairwise(ends)] == words
    starts = [0, *(word.text_end for word in phonemes.words)]
    written = [text[begin:end].strip() for begin, end in pairwise(starts)]
    assert written == text.split()


def test_an_alphabet_of_another_voice_is_converted_phrase_by_phrase(library):
    phonemes = phonemes_of("No, no.", library, "en-us", convert=lambda ipa: ipa.replace("o^ʊ", "O"), tie="^")
    assert phonemes.text == "nˈO, nˈO."


def test_words_of_another_language_leave_no_mark(library):
    assert "(" not in phonemes_of("Mein Computer ist online, my friend.", library, "de").text
