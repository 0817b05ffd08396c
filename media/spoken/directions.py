"""Removes stage directions: "*smiles warmly*", "[laughs]", "(pauses)" where they stand between sentences."""

from __future__ import annotations

import re

_VERBS = (
    "smile laugh chuckle giggle grin sigh nod pause wait cough sneeze breathe inhale exhale gasp whisper mumble"
    " mutter hum sing clap wink blink shrug frown gesture lean look glance stare turn type click listen think ponder"
    " hesitate clear take speak say reply respond answer hang pick check search tap scroll read write shake tilt"
    " raise lower bow wave hug groan yawn snort sniff sob cry beam blush scratch rub step walk sit stand continue"
    " remain stop begin start shuffle rustle beep ring dial put hold transfer connect disconnect end adjust play note"
).split()
_NOUNS = (
    "laughter laugh applause silence pause beat music sound noise static crosstalk inaudible unintelligible sigh"
    " chuckle smile cough typing footsteps background hold dial ringtone beep dramatically softly warmly gently"
    " cheerfully politely quietly excitedly calmly slowly thoughtfully lacht lächelt seufzt nickt schmunzelt räuspert"
    " zögert rit rire rires sourit soupire hésite ríe risas sonríe suspira ride sorride sospira ri risos sorri suspira"
    " glimlacht zucht knikt pausa attesa attente espera wacht wartet"
).split()


def _forms(verb: str) -> list[str]:
    """smile: smiles, smiling; nod: nods, nodding."""
    stem = verb[:-1] if verb.endswith("e") else verb
    third = verb + ("es" if verb.endswith(("sh", "ch", "s")) else "s")
    third = verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in "aeo" else third
    return [third, f"{stem}ing", f"{verb}{verb[-1]}ing"]


_FIRST = frozenset(form for verb in _VERBS for form in _forms(verb)) | frozenset(_NOUNS)
_VOICED = frozenset(form for verb in "laugh chuckle giggle sigh smile".split() for form in _forms(verb)) | {"clears"}
"""What is heard of a person. In parentheses it is a direction wherever it stands: "Sure (laughs)."."""
_NARRATED = re.compile(
    r"(?:the\s)?(?:call|line|phone|telephone|agent|assistant|caller|customer|operator|user|hold music|dial tone)\s"
    r"(?:is|has|rings?|ends?|connects?|disconnects?|hangs?|picks?|pauses?|smiles?|laughs?|waits?|plays?|was|gets)\b",
    re.I,
)
_PERSONS = frozenset("he she they it i".split())
"""Who acts in a direction: "(He laughs.)"."""
_MOST_WORDS = 8
"""Words of the longest direction; what is longer is text."""

_SOMEBODY_ACTS = re.compile(rf"[A-Z]\w*\s(?:{'|'.join(sorted(_forms(verb)[0] for verb in _VERBS))})\b")
"""A direction that names who acts: "Anna smiles"."""
_WIDE = re.compile(r"(?:^|(?<=[。！？…\n]))\s*（[^（）\n]{1,12}）(?=.)")
"""A direction in front of a sentence, in Chinese or Japanese. What belongs to a sentence stands behind its words."""
_MARKED = re.compile(
    r"(?<![\w*])(?:\*{1,2}([^*\n]{2,80})\*{1,2}|_([^_\n]{2,80})_|\[([^\[\]\n]{2,80})\]|\(([^()\n]{2,80})\))(?![\w*(])"
)
_SENTENCE_BEFORE = re.compile(r"(?:^|[.!?…:\"”—\n])\s*$")
_SENTENCE_AFTER = re.compile(r"[\s.,!?…—-]*(?:$|[\"“'‘¿¡A-Z0-9ÀÈÉÖÜ*\[(])")


def _is_direction(match: re.Match[str]) -> bool:
    content = next(group for group in match.groups() if group is not None).strip()
    words = re.findall(r"[^\W\d_]+(?:'\w+)?", content)
    if not words or len(words) > _MOST_WORDS or any(map(str.isdigit, content)):
        return False
    if len(words) > 1 and words[0].lower() in _PERSONS:
        words = words[1:]
    alone = _SENTENCE_BEFORE.search(match.string[: match.start()]) and _SENTENCE_AFTER.match(match.string, match.end())
    if match[4] is not None and words[0].lower() in _VOICED and len(words) < 3:
        return True
    # No sentence begins with a small letter.
    is_emphasis = match[1] is not None or match[2] is not None
    if alone and is_emphasis and (content[0].islower() or _SOMEBODY_ACTS.match(content)):
        return True
    if not (_NARRATED.match(content) or words[0].lower() in _FIRST or (len(words) < 3 and words[-1].lower() in _NOUNS)):
        return False
    return bool(alone) or (match[3] is not None and len(words) < 4)


def without_directions(text: str) -> str:
    text = _WIDE.sub("", text) if "（" in text else text
    if "*" not in text and "[" not in text and "(" not in text and "_" not in text:
        return text
    return _MARKED.sub(lambda match: " " if _is_direction(match) else match[0], text)
