"""
The parts of a model's reply that are not speech: requests, tool calls, JSON, reasoning, roles and control tokens.

``ReplySyntax.find`` judges one position of a text that is still growing. What it answers never changes with the text
that comes later: where that could happen, it raises ``Undecided``. So a reply reads the same however it is cut into
tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from inference.chat.request_text import (
    LONGEST_PHRASE,
    WAIT,
    RequestReader,
    Wrapping,
    is_name_of_a_request,
    key,
)
from inference.requests import NO_REQUESTS, ToolRequests
from inference.types import NOT_SAID


class Undecided(Exception):
    """The text may go on in a way that makes the position the beginning of something."""


class Turn(Enum):
    """Whose words follow a control token or a role."""

    BEGINS = auto()
    """A turn begins; a role may say whose it is. Before the first words it is the model's own."""
    MINE = auto()
    """The model's own."""
    OTHERS = auto()
    """Those of somebody else: the model writes both sides of the conversation."""
    NONE = auto()
    """Nobody's: the reply is over."""


class Block(Enum):
    """What a longer part contains that is not spoken."""

    CALL = auto()
    """A tool call."""
    CODE = auto()
    """Code, which may contain a request."""
    THOUGHT = auto()
    """Reasoning or a note, which requests nothing."""


@dataclass(frozen=True, slots=True)
class Found:
    """A part of the text that is not spoken. It begins at the position that was judged."""

    end: int
    """Where it ends."""
    requests: ToolRequests = NO_REQUESTS
    block: Block | None = None
    """The text up to ``closer`` is not spoken either, and contains this. None: there is no such part."""
    closer: str = ""
    """The end of the block. Empty: it goes on to the end of the reply."""
    function: str = ""
    """The function that is called with what is in the block; empty if the block names it."""
    is_text_if_open: bool = False
    """The block begins inside a sentence: without its end it is no block, and the text goes on behind this part."""
    ends_thought: bool = False
    """Reasoning ends here, of which the beginning is missing: the words before it were part of it."""
    words: str = ""
    """The words that it says. They take its place."""
    turn: Turn | None = None
    """Whose words follow, if it says so."""


OWN_ROLES = frozenset(
    "assistant model agent ai bot a receptionist assistent assistentin assistente asistente agente".split()
)
OTHER_ROLES = frozenset(
    "user username caller customer client human guest system developer tool q"
    " nutzer benutzer anrufer anruferin kunde kundin usuario llamante cliente utilisateur appelant utente gebruiker"
    " beller klant utilizador usuário".split()
)
"""The names of roles; a model that speaks another language writes them in it."""
YOU = "you"
"""Before the first words of a reply it is the model, later on the caller."""
CHATML_ROLES = frozenset("assistant model user human system tool".split())
"""Roles that chat templates write on a line of their own."""
TURN_STARTS = frozenset("bos s start_of_turn im_start begin_of_text start".split())
"""Control tokens before a turn. In front of the first words it is the model's own, later on another's."""
TURN_ENDS = frozenset(
    "eos end_of_turn turn im_end eot_id eot end end_of_text endoftext return end_of_utterance"
    " user assistant system".split()
)
"""Control tokens after a turn."""
HEADERS = frozenset(("start_header_id",))
"""Control tokens around the name of a role."""
THOUGHTS = frozenset("think thinking thought thoughts reasoning reflection scratchpad analysis".split())
CALLS = frozenset(
    "tool_call tool_calls toolcall function_call function_calls functioncall function invoke tool tools tool_code"
    " tool_use python_tag tool_response tool_calls_begin tool_calls_section_begin call".split()
)
_BRACKETED_CALLS = frozenset("toolcall toolcalls toolresults availabletools toolresponse functioncall".split())
_BRACKETED_TURNS = frozenset(("inst", "sysmsg", "systemprompt"))
_TAGS = (*TURN_STARTS, *TURN_ENDS, *HEADERS, *THOUGHTS, *CALLS, "channel", "message")
_NOTE = key(NOT_SAID.partition(":")[0])
"""How the note about the rest of a reply begins. A model that imitates it is not heard."""
_SPECIAL = (*_BRACKETED_CALLS, *_BRACKETED_TURNS, _NOTE)
NAMESPACES = frozenset("functions function tools tool default_api api call".split())

CONTEXT = 200
"""Characters before a position that say what it can be: the line before it and the end of the sentence."""
LONGEST_VALUE = 60
"""Characters of the value behind a label of data, such as "Customer: Ann": longer ones are what somebody says."""
LONGEST_LABEL = 3
"""Words of a label of data: more, as in "When the caller says:", announce what somebody says."""
LONGEST_TAG = 120
"""Characters between angle brackets that may be a tag: a name and an attribute or two."""
LONGEST_CALL = 400
"""Characters of the arguments of a call in running text. Behind a bracket that is never closed, speech goes on."""
LONGEST_WORD = 60
"""Characters of a name of a function: text without spaces is not held back for longer."""
_FENCE = "```"

_ANGLES = "<◁＜⟨〈"
"""Models write tags between other angle brackets than the usual ones as well."""
_ANGLES_END = ">▷＞⟩〉"
_OPEN = re.compile(r"[\[({<*`][\[({<*`|/]*")
_CONTENTS = {
    opener: re.compile(rf"[^{re.escape(pair)}\n]*") for pair in ("[]", "()", "{}", "<>", "*", "`") for opener in pair
}
_UNDERLINED = re.compile(r"_{1,3}(?P<inside>(?:[^_\n]|(?<=[^\W_])_(?=[^\W_]))*)(?P<close>_*)")
_CLOSE = re.compile(r"[\])}>*`|/]+")
_WORD = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]|\\_)*")
_ROLE = re.compile(r"[ \t]*[*_#>]*[ \t]*(?P<name>[^\W\d_]*)")
_AFTER_ROLE = re.compile(r"[*_ \t]*")
_COLON = re.compile(r"[:：][*_]*[ \t]*")
_OBJECT = re.compile(r"\{\s*(?:(?P<json>[\"'}])|(?P<name>\w+)\s*(?P<colon>:)?)?")
_ARRAY = re.compile(r"\[\s*(?P<json>[{\"])?")
_TAG_NAME = re.compile(r"[/|｜\s]*(?:\w+:(?=\w))?([\w▁.\-]*)")
_NAMESPACE = re.compile(r"/?\w*:?")
"""The beginning of a tag that may have a namespace: "mm:think"."""
_IN_TAG = re.compile(rf"[^{_ANGLES}{_ANGLES_END}\n]*")
_THOUGHT_TAG = re.compile(
    rf"\\?[{_ANGLES}]\\?(?P<end>/)?\s*(?:\w+:)?(?:{'|'.join(sorted(THOUGHTS))})\s*\\?[{_ANGLES_END}]", re.IGNORECASE
)
_BARE_WAIT = re.compile(r"WAIT(?![^\W_])[\s.!]*")
"""The request to wait without its brackets: nobody writes "Wait." like that."""
_THOUGHT_LINE = re.compile(rf"(?:{'|'.join(sorted(THOUGHTS))})[ \t]*\n")
"""The name of a block of reasoning that has lost its brackets."""
_BARE_ROLE = re.compile(r"[ \t]*(user(?:name)?|human|system|assistant)(?![a-z0-9_'’:-])")
"""A role at the beginning of a paragraph. Sentences begin with a capital letter."""
_SHOUTED_NAME = re.compile(r"[A-Z]{2,}(?:\\?_[A-Z]+)+")
"""A name like that of a marker, which a weak model makes up: "[NOT_CALL]"."""
_SENTENCE_END = re.compile(r"[.!?…。！？]\s")
_DATA_LABEL = re.compile(r"[ \t]*[-*•]?[ \t]*\**(?P<name>[^\W\d_][\w' -]{0,30})\**[:：]")
_MAYBE_DATA_LABEL = re.compile(r"[ \t]*[-*•]?[ \t]*\**(?:[^\W\d_][\w' -]{0,30}\**)?")
_ANNOUNCED_CALL = re.compile(
    r"\s*(?:calling|call|using|invoking|executing|running|tool|function)\b.*\w\(", re.IGNORECASE
)
_TAG_ALONE = re.compile(r"\w+")
_STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"?", re.DOTALL)


class ReplySyntax:
    """
    Judges positions of a reply.

    ``literals`` are further texts that are not spoken, and what they request. ``recited`` are beginnings of text that
    is not meant for the caller: there the reply is over.
    """

    def __init__(
        self,
        reader: RequestReader,
        literals: dict[str, ToolRequests] | None = None,
        *,
        recited: Sequence[str] = (),
    ) -> None:
        self._reader = reader
        self._recited = dict.fromkeys(recited, NO_REQUESTS)
        self._recited_letters = {text[0] for text in recited}
        self._literals = {literal: requests for literal, requests in (literals or {}).items() if literal}

    def find(self, text: str, at: int, *, before: str, final: bool) -> Found | None:
        """
        Return what begins at this position; None if it is spoken. Raises ``Undecided``.

        ``before`` is what was spoken before, or its last ``CONTEXT`` characters; empty before the first one. ``final``
        says that no text follows.
        """
        last = before[-1:]
        if found := self._literal(self._literals, text, at, last, final):
            return found
        if text[at] in self._recited_letters and (found := self._literal(self._recited, text, at, last, final)):
            return replace(found, turn=Turn.NONE)
        character = text[at]
        if not before and (found := self._opening(text, at, final)):
            return found
        # The line end is spoken. A role behind it is judged by what stands before; "\n" alone follows another's words.
        if last == "\n" and (found := self._role(text, at, before[:-1] or before, final)):
            return found
        if character in _ANGLES or (character == "\\" and text[at + 1 : at + 2] in _ANGLES):
            found = self._angle(text, at, before, final)
        elif character in "[({*`":
            found = self._bracket(text, at, final)
        elif character == "_" and not (last.isalnum() or (last and last in "_\\")):
            found = self._underlined(text, at, final)
        elif character == "@" and not last.isalnum():
            # Some prompts have requests written as "@END_CALL".
            _decide(text, at + 1, final)
            named = self._word(text, at + 1, final)
            found = named if named and named.requests else None
        elif character.isascii() and character.isalpha() and not (last.isalnum() or (last and last in "_@/\\-")):
            found = self._word(text, at, final)
        else:
            found = None
        return found

    def _opening(self, text: str, at: int, final: bool) -> Found | None:
        """What only the beginning of a reply can be."""
        begun = text[at:]
        if line := _THOUGHT_LINE.match(text, at):
            return Found(line.end(), block=Block.THOUGHT, closer="</think>")
        if not final and any(name.startswith(begun) or begun.rstrip(" \t") == name for name in THOUGHTS):
            raise Undecided
        if "WAIT".startswith(begun) or ((wait := _BARE_WAIT.match(text, at)) and wait.end() == len(text)):
            if not final:
                raise Undecided
            if begun.startswith("WAIT"):
                return Found(len(text), WAIT)
        if begun[0] == "{" and (found := self._json(text, at, final)):
            words = self._reader.json_words(text[at : found.end])
            return replace(found, words=words)
        return self._role(text, at, "", final)

    def requests_in(self, text: str) -> ToolRequests:
        """What a whole text requests, wherever it does."""
        together = NO_REQUESTS
        for _, found in self.parts(text):
            together |= found.requests
        return together

    def parts(self, text: str) -> Iterator[tuple[int, Found]]:
        """Everything in a whole text that is not spoken, each with its position. Blocks are looked into."""
        at, before = 0, " "
        while at < len(text):
            found = self.find(text, at, before=before, final=True)
            if found is None:
                before = text[max(0, at - CONTEXT) : at + 1]
                at += 1
            else:
                yield at, found
                at = max(found.end, at + 1)

    def _literal(
        self, literals: Mapping[str, ToolRequests], text: str, at: int, before: str, final: bool
    ) -> Found | None:
        for literal, requests in literals.items():
            if literal[0].isalnum() and (before.isalnum() or before == "_"):
                continue
            begun = text[at : at + len(literal)]
            if begun.lower() == literal.lower():
                return Found(at + len(literal), requests)
            if not final and len(begun) < len(literal) and begun.lower() == literal[: len(begun)].lower():
                raise Undecided
        return None

    # -- roles ----------------------------------------------------------------------------------------------

    def _role(self, text: str, at: int, before: str, final: bool) -> Found | None:
        """A role at the beginning of a line. ``before`` is empty at the beginning of the reply."""
        if before.endswith("\n") and (bare := _BARE_ROLE.match(text, at)):
            _decide(text, bare.end(), final)
            return Found(bare.end(), turn=Turn.MINE if bare[1] in OWN_ROLES else Turn.OTHERS)
        match = _ROLE.match(text, at)
        assert match is not None  # it matches the empty text
        name, end = match["name"].lower(), match.end()
        roles = OWN_ROLES | OTHER_ROLES | {YOU}
        if end == len(text) and not final:
            if any(role.startswith(name) for role in roles):
                raise Undecided
            return None
        if name not in roles or (len(name) == 1 and match["name"].islower()):
            return None
        own = name in OWN_ROLES or (name == YOU and not before)
        turn = Turn.MINE if own else Turn.OTHERS
        after = _AFTER_ROLE.match(text, end)
        assert after is not None
        end = after.end()
        if end == len(text):
            if not final:
                raise Undecided
            return Found(end, turn=turn) if name in CHATML_ROLES and before else None
        if colon := _COLON.match(text, end):
            if colon.end() == len(text) and not final:
                raise Undecided
            is_data = (before or not own) and _is_data(text, colon.end(), before, final)
            return None if is_data else Found(colon.end(), turn=turn)
        return Found(end + 1, turn=turn) if text[end] == "\n" and name in CHATML_ROLES else None

    # -- brackets -------------------------------------------------------------------------------------------

    def _bracket(self, text: str, at: int, final: bool) -> Found | None:
        character = text[at]
        if character == "`":
            run = text[at : at + len(_FENCE)]
            if run == _FENCE:
                return Found(at + len(_FENCE), block=Block.CODE, closer=_FENCE)
            if not final and run == "`" * len(run) and at + len(run) == len(text):
                raise Undecided
        if character in "[{" and (found := self._json(text, at, final)):
            return found
        return self._wrapped(text, at, final)

    def _angle(self, text: str, at: int, before: str, final: bool) -> Found | None:
        """A tag, whose brackets may be escaped as markdown asks for, or a request between angle brackets."""
        escaped = text[at] == "\\"
        if escaped:
            _decide(text, at + 1, final)
        found = self._tag(text, at + escaped, final)
        if found is None:
            return self._wrapped(text, at, final) if text[at] == "<" else None
        if found.block is Block.THOUGHT and found.closer.startswith("</"):
            inside_sentence = before.rstrip(" \"'`“‘(")[-1:]
            return replace(found, is_text_if_open=inside_sentence.isalnum() or inside_sentence == ",")
        return found

    def _wrapped(self, text: str, at: int, final: bool) -> Found | None:
        """A request between brackets of any kind, also if the last ones are missing."""
        opener = _OPEN.match(text, at)
        assert opener is not None
        innermost = opener[0].rstrip("|/")[-1]
        content = _CONTENTS[innermost].match(text, opener.end())
        assert content is not None
        strong = any(bracket in opener[0] for bracket in "[{<")
        inside, end = content[0], content.end()
        if key(inside).startswith(_NOTE):
            return Found(opener.end(), block=Block.THOUGHT, closer=")" if innermost == "(" else "]")
        if end == len(text) and not final:
            # Nobody says what stands in square brackets.
            longest = LONGEST_CALL if _ANNOUNCED_CALL.match(f"{inside} x(") else LONGEST_PHRASE
            if "[" in opener[0] and len(inside) <= longest:
                raise Undecided
            if self._reader.may_become_phrase(inside) or any(name.startswith(key(inside)) for name in _SPECIAL):
                raise Undecided
            return None
        if strong and (found := _special(inside, end, is_end="/" in opener[0])):
            return found
        closer = _CLOSE.match(text, end)
        if "[" in opener[0] and len(inside) <= LONGEST_CALL and closer and _ANNOUNCED_CALL.match(inside):
            return Found(end + 1, self.requests_in(inside))
        if len(inside) > LONGEST_PHRASE:
            return None
        requests = self._reader.phrase(inside, Wrapping.BRACKETS if strong else Wrapping.EMPHASIS)
        if closer is None:
            # Without its last bracket it is a request at the end of a line, or if it is written as a name.
            whole = end == len(text) or text[end] == "\n"
            if not (whole and strong):
                requests = self._reader.phrase(inside, Wrapping.NOTHING)
            return Found(end, requests) if requests and (whole or not requests.transfer) else None
        if not requests and not ("[" in opener[0] and _SHOUTED_NAME.fullmatch(inside.strip())):
            return None
        if closer.end() == len(text) and not final:
            raise Undecided
        return Found(closer.end(), requests)

    def _underlined(self, text: str, at: int, final: bool) -> Found | None:
        """A request between underscores, which are emphasis like stars."""
        match = _UNDERLINED.match(text, at)
        assert match is not None  # it matches one underscore
        if match.end() == len(text) and not final and self._reader.may_become_phrase(match["inside"]):
            raise Undecided
        requests = self._reader.phrase(match["inside"], Wrapping.EMPHASIS) if match["close"] else NO_REQUESTS
        return Found(match.end(), requests) if requests else None

    def _json(self, text: str, at: int, final: bool) -> Found | None:
        match = (_OBJECT if text[at] == "{" else _ARRAY).match(text, at)
        assert match is not None
        if not (match["json"] or (text[at] == "{" and match["colon"])):
            if match.end() == len(text) and not final and match.end() - at < LONGEST_PHRASE:
                raise Undecided
            return None
        end = _balanced(text, at)
        if end is None:
            if not final:
                raise Undecided
            end = len(text)
        requests = self._reader.json_call(text[at:end])
        if not requests and not match["json"]:
            requests = self._reader.phrase(text[at:end].strip("{}"), Wrapping.BRACKETS)
        return Found(end, requests)

    def _tag(self, text: str, at: int, final: bool) -> Found | None:
        """A control token, or a tag that stands around reasoning or a tool call."""
        close = _IN_TAG.match(text, at + 1)
        assert close is not None
        inside, end = close[0].removesuffix("\\").removeprefix("\\"), close.end()
        name_match = _TAG_NAME.match(inside)
        assert name_match is not None
        name = name_match[1].lower().replace("▁", "_")
        if len(inside) > LONGEST_TAG or inside[:1].isspace():
            return None
        if end == len(text):
            begun = any(tag.startswith(name) for tag in _TAGS) if name_match.end() == len(inside) else name in _TAGS
            if not final and (begun or inside[:1] in ("|", "｜") or _NAMESPACE.fullmatch(inside)):
                raise Undecided
            # A control token of which a limit cut the end.
            return Found(end) if final and begun and (len(name) > 2 or inside[:1] in ("/", "|")) else None
        if text[end] not in _ANGLES_END:
            return None
        return self._known_tag(name, inside, end + 1)

    def _known_tag(self, name: str, inside: str, end: int) -> Found | None:
        ends_block, token = inside.startswith("/"), inside[:1] in ("|", "｜")
        if name in HEADERS:
            return Found(end, block=Block.THOUGHT, closer="<|end_header_id|>", turn=Turn.BEGINS)
        if name == "channel" and token:
            return Found(end, block=Block.THOUGHT, closer="final<|message|>")
        if name in TURN_STARTS and not ends_block:
            return Found(end, turn=Turn.BEGINS)
        requests = self._reader.phrase(inside, Wrapping.BRACKETS)
        if requests.transfer and not ends_block and _TAG_ALONE.fullmatch(inside):
            return Found(end, block=Block.CALL, closer=f"</{inside}>", function=name)
        if requests:
            return None
        if name in TURN_ENDS or name in TURN_STARTS:
            return Found(end, turn=Turn.NONE)
        if name in THOUGHTS:
            return Found(end, ends_thought=True) if ends_block else Found(end, block=Block.THOUGHT, closer=f"</{name}>")
        if name in CALLS:
            if ends_block:
                return Found(end)
            attribute = re.search(r"=[\s\"']*([\w.-]+)", inside)
            function = attribute[1] if attribute else ""
            return Found(end, block=Block.CALL, closer="" if token else f"</{name}>", function=function)
        return Found(end) if token and inside.endswith(("|", "｜")) else None

    # -- words ----------------------------------------------------------------------------------------------

    def _word(self, text: str, at: int, final: bool) -> Found | None:
        """A request that is written as a name, or a call of a function; None if no name in ASCII begins here."""
        match = _WORD.match(text, at)
        if match is None:
            return None
        word, end, qualified = match[0], match.end(), False
        if len(word) > LONGEST_WORD:
            return None
        _decide(text, end, final, escape=True)
        if word.lower() in NAMESPACES and text[end : end + 1] in (".", ":"):
            _decide(text, end + 1, final)
            inner = _WORD.match(text, end + 1)
            if inner is None:
                return None
            word, end, qualified = inner[0], inner.end(), True
            _decide(text, end, final, escape=True)
        behind = text[end : end + 1]
        if behind in ("(", "{"):
            return self._call(text, word, end, qualified, final)
        if "_" not in word or behind in ("@", "/"):
            return None
        if behind == ".":
            _decide(text, end + 1, final)
            if text[end + 1 : end + 2].isalnum():
                return None
        requests = self._reader.phrase(word, Wrapping.NOTHING)
        if not requests:
            return None
        if closer := _CLOSE.match(text, end):
            end = closer.end()
            _decide(text, end, final)
        return Found(end, requests)

    def _call(self, text: str, word: str, start: int, qualified: bool, final: bool) -> Found | None:
        ours, function = is_name_of_a_request(word), qualified or "_" in word
        if not ours and not (function and text[start] == "("):
            return None
        end = _balanced(text, start)
        if end is None or end - start > LONGEST_CALL:
            if not final and len(text) - start <= LONGEST_CALL:
                raise Undecided
            end = min(len(text), start + LONGEST_CALL)
        arguments = text[start:end].strip("() \n")
        if not function and arguments and not re.search(r"[\"'={]", arguments):
            # "Your transfer(s)" is none. A target without quotes is one.
            known = self._reader.targets
            if arguments == "s" or (known is not None and key(arguments) not in map(key, known)):
                return None
        return Found(end, self._reader.call(word, arguments))


def end_of_block(block: Found, text: str, at: int, *, final: bool) -> tuple[int, int] | None:
    """Return where the end of this block begins and ends; None if it has not come yet, or does not come."""
    if not (block.block is Block.THOUGHT and block.closer.startswith("</")):
        closer = re.escape(block.closer).replace("</", r"<\s*/\s*").removesuffix(">")
        closer += r"\s*>" if block.closer.endswith(">") else ""
        match = re.compile(closer, re.IGNORECASE).search(text, at) if closer else None
        return match.span() if match else None
    depth, last = 1, None
    for tag in _THOUGHT_TAG.finditer(text, at):
        depth += -1 if tag["end"] else 1
        last = (tag.start(), tag.end()) if tag["end"] else last
        if not depth:
            return last
    # Reasoning may name its own tag: then it ends with the last one.
    return last if final else None


def _is_data(text: str, at: int, before: str, final: bool) -> bool:
    """Whether the label of a role with this value stands in a list of data: "Customer: Ann", then "Date: Monday"."""
    line = text[at:].partition("\n")
    value, is_whole = line[0].strip(), bool(line[1])
    # A value that is only a marker is none: "User: [END_CALL]".
    if (
        not value
        or value[0] in "[<"
        or len(value) > LONGEST_VALUE
        or _SENTENCE_END.search(line[0] + "\n" * (is_whole or final))
    ):
        return False
    if not (is_whole or final):
        raise Undecided
    above = before.rstrip().rpartition("\n")[2]
    if above.endswith((":", "：")) or (_DATA_LABEL.match(above) and not _SENTENCE_END.search(f"{above}\n")):
        return True
    below = line[2].lstrip("\n")
    if label := _DATA_LABEL.match(below):
        name = label["name"].strip().lower()
        return name not in OWN_ROLES | OTHER_ROLES | {YOU} and len(name.split()) <= LONGEST_LABEL
    if is_whole and not final and _MAYBE_DATA_LABEL.fullmatch(below):
        raise Undecided
    return False


def _special(inside: str, end: int, *, is_end: bool) -> Found | None:
    """What is written in square brackets for programs alone."""
    name = key(inside)
    if name in _BRACKETED_CALLS:
        return Found(end) if is_end else Found(end, block=Block.CALL, closer=f"[/{inside.strip()}]")
    return Found(end, turn=Turn.OTHERS) if name in _BRACKETED_TURNS else None


def _decide(text: str, end: int, final: bool, *, escape: bool = False) -> None:
    """Raise ``Undecided`` if what ends here may go on."""
    if not final and (end == len(text) or (escape and text[end:] == "\\")):
        raise Undecided


def _balanced(text: str, at: int) -> int | None:
    """Where the bracket that opens here is closed; None if it is not. Brackets in strings do not count."""
    depth = 0
    while at < len(text):
        if text[at] == '"' and (string := _STRING.match(text, at)):
            at = string.end()
            continue
        if text[at] in "[{(":
            depth += 1
        elif text[at] in "]})":
            depth -= 1
            if depth <= 0:
                return at + 1
        at += 1
    return None
