"""
Sentences that an agent may say and how a person would say them, by an author who had not seen the code.

There are 294 in English and 126 in six other languages, in ``spoken/blind``. Before anything was mended, they were said
once: in English 280 of 294 in exactly one of their forms (282 without regard to punctuation and hyphens), in German 19
of 21, in French 17, in Spanish 18, in Italian 18, in Portuguese 19 and in Dutch 19 (in all six 117 of 126 without
regard to punctuation and hyphens). Two forms were added afterwards, which are as good as those that the author gave.
"""

from __future__ import annotations

import json
from pathlib import Path

from media.speakable import speakable
from tests.rows import each_row

FOLDER = Path(__file__).parent / "spoken" / "blind"
SENTENCES = [
    (path.stem, entry["written"], entry["spoken"])
    for path in sorted(FOLDER.glob("*.json"))
    for entry in json.loads(path.read_text(encoding="utf-8"))
]


def test_the_tables_are_complete():
    assert len(SENTENCES) == 294 + 6 * 21


@each_row(("language", "written", "spoken"), SENTENCES)
def test_each_sentence_is_said_in_one_of_its_forms(language, written, spoken):
    said = speakable(written, language)
    assert said in spoken
    assert speakable(said, language) == said, "what is said stays as it is"
