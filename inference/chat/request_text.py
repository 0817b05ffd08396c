"""
Reads requests in the text of a model: how they are written, and how models misspell them.

A phrase is compared by its letters and digits alone, so that ``[END_CALL]``, ``[End call]``, ``<end-call/>`` and
``END\\_CALL`` are one phrase. The brackets around it say how sure it is that a request is meant: people say "hang up"
and "do not call", but nobody says ``[hang up]`` or ``do_not_call``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import product
from typing import Any

from inference.requests import NO_REQUESTS, ToolRequests

LONGEST_PHRASE = 80
"""Characters between brackets that may be a request: a phrase of five words and the name of a target."""


class Wrapping(Enum):
    """What stands around a phrase."""

    BRACKETS = auto()
    """Square, curly or angle brackets, which nobody uses in speech: any phrase is a request."""
    EMPHASIS = auto()
    """Parentheses, stars, underscores or backticks, which are also used for words to be spoken: a request is written as
    a name (``END_CALL``) or tells what happens (``*hangs up*``)."""
    NOTHING = auto()
    """A request is written as a name."""


def key(text: str) -> str:
    """The letters and digits of ``text`` in lower case: what phrases are compared by."""
    return re.sub(r"[\W_]+", "", text).lower()


def _joined(*parts: str) -> frozenset[str]:
    """Every combination of one word of each part, without spaces. ``-`` stands for no word."""
    return frozenset("".join(words).replace("-", "") for words in product(*(part.split() for part in parts)))


_CALL = "call thecall thiscall calls phonecall thephonecall conversation theconversation"
_PHONE = "- call thecall phone thephone"
_ENDS = _joined("end terminate finish disconnect", _CALL) | _joined("hangup", _PHONE)
_ENDS |= {"callend", "endofcall", "endofconversation", "disconnect", "endcallnow", "calldisconnect"}
_ENDING = (
    _joined("ends ending ended terminates terminating terminated disconnects disconnecting disconnected", _CALL)
    | _joined("hangsup hangingup hungup", _PHONE)
    | _joined(_CALL, "- is has hasbeen isnow", "ended over terminated disconnected finished complete completed ends")
    | {"disconnects", "disconnecting", "disconnected", "linedisconnects", "thelinegoesdead", "linegoesdead"}
    | _joined("legt legtjetzt", "auf denhörerauf")
    | _joined("raccroche cuelga riattacca riaggancia desliga hangtop", "- eltelefono elteléfono iltelefono otelefone")
    | {"beendetdasgespräch", "beendetdenanruf", "terminelappel", "terminalallamada", "terminalachiamata"}
)
"""The end of the call as something that happens: no instruction to the caller is written like this."""
_OPTS_OUT = (
    _joined("donotcall dontcall nevercall", "- again list me meagain them caller thecaller thisnumber number")
    | _joined("add adds added", "todonotcalllist todonotcall tothedonotcalllist todnc todnclist")
    | _joined("remove removes removed", "fromlist fromthelist fromcalllist fromcallinglist")
    | {"optout", "optsout", "optedout", "optcallerout", "optoutcaller", "donotcontact", "dnc", "dnclist", "nomorecalls"}
)

_FOR = "- more longer forcaller forthecaller foruser forthem forthecallertofinish forcallertofinish forthecallertogoon"
_WAITS = (
    _joined("wait keepwaiting listen keeplistening staysilent besilent callerwaits", _FOR)
    | _joined("- caller thecaller user theuser sentence", "isnot hasnot not isntyet notyet", "finished done complete")
    | _joined("- caller thecaller user theuser sentence", "- is", "unfinished incomplete")
)
_WAITING = _joined("waits waiting listens listening keepslistening stayssilent silence silent", _FOR)
"""Waiting as something that happens."""
_TRANSFERRING = _joined("transfers transferring transferred", "call thecall thiscall caller thecaller you them")
"""A transfer to nobody in particular, as something that happens."""

_END, _OPT_OUT, WAIT = ToolRequests(end_call=True), ToolRequests(opt_out=True), ToolRequests(wait=True)
_PHRASES = {
    **dict.fromkeys(_ENDS | _ENDING, _END),
    **dict.fromkeys(_OPTS_OUT, _OPT_OUT),
    **dict.fromkeys(_WAITS | _WAITING, WAIT),
}
_END_VERBS = ("end", "terminate", "finish", "disconnect")
_TRANSFERS = ("transfer", "connect", "forward", "redirect")
_BEGINNINGS = frozenset(name[:length] for name in (*_PHRASES, *_TRANSFERS) for length in range(len(name) + 1))

_S = r"[\s_\\-]+"
_TRANSFER = re.compile(
    rf"[\W_]*(?:(?P<transfer>transfer(?:s|red|ring)?)|(?:connect|forward|redirect)(?:s|ed|ing)?)(?![^\W_])"
    rf"(?:{_S}(?:(?:the|this){_S})?(?:call|caller|customer|user)(?![^\W_])|{_S}(?:you|them|him|her)(?![^\W_]))?"
    rf"(?:{_S}(?:over|through|on)(?![^\W_]))?(?P<to>(?:{_S}(?:to|target|name|destination|department)(?![^\W_]))*)"
    r"(?P<name>.*)",
    re.IGNORECASE | re.DOTALL,
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WRITTEN_AS_A_NAME = re.compile(r"[^\W_]\\?_[^\W_]")
_NAME_FIRST = re.compile(r"[\W_]*([^\W\d_]+(?:\\?_+[^\W_]+)+)(?![^\W_])")
_BEFORE_A_REMARK = re.compile(r"(.+?)\s*(?:[:;,.–—]|\s-)\s")
_TARGET_KEYS = ("target", "name", "to", "destination", "department", "queue")
_FUNCTION_KEYS = ("name", "function", "tool", "tool_name", "action", "command", "recipient_name")
_QUOTED = re.compile(r"[\"'“]([^\"'“”]*)(?:[\"'”]|$)(\s*[:=])?")
"""A string, and what makes it the name of a field. The end of the last one is missing if the call is cut."""
_ENDS_SOME_CALL = re.compile(
    r"(?:end|terminate|finish|disconnect)(?:[\W_]+[a-z]+)?[\W_]+(?:phone[\W_]*)?call", re.IGNORECASE
)
"""The name of a request to end the call that names what kind of call it is: "end_current_call"."""
_SPEECH_KEYS = "spoken speech say speak utterance reply response answer message text content output".split()
"""Fields of an object that contain the words of a reply."""
_CALL_KEYS = frozenset("arguments parameters args".split())


@dataclass(frozen=True, slots=True)
class RequestReader:
    """Reads the requests of one call. ``targets`` are those of a transfer; None: any name is one."""

    targets: Sequence[str] | None = None

    def phrase(self, text: str, wrapping: Wrapping) -> ToolRequests:
        """What this text between brackets, or this name without any, requests."""
        text = _CAMEL.sub("_", text.strip())
        named = _WRITTEN_AS_A_NAME.search(text) is not None
        exact = key(text)
        requests = _PHRASES.get(exact, NO_REQUESTS)
        if not requests:
            # A remark may follow: "END_CALL: the caller is satisfied".
            requests = next((_PHRASES[head] for head in _heads(text) if head in _PHRASES), NO_REQUESTS)
            if requests and not (named or text.isupper()):
                return NO_REQUESTS
        if not requests and named and _ENDS_SOME_CALL.fullmatch(text):
            requests = _END
        if not requests:
            return self._transfer(text, wrapping, named)
        if wrapping is Wrapping.BRACKETS or named:
            return requests
        happens = exact in _ENDING | _WAITING or (text.isupper() and requests in (_END, WAIT))
        return requests if happens and wrapping is Wrapping.EMPHASIS else NO_REQUESTS

    def may_become_phrase(self, text: str) -> bool:
        """Whether ``text`` may be the beginning of a phrase."""
        if len(text) > LONGEST_PHRASE:
            return False
        begun = key(text)
        text = _CAMEL.sub("_", text)
        return (
            begun in _BEGINNINGS
            or begun.startswith((*_TRANSFERS, *_END_VERBS))
            or any(head in _PHRASES for head in _heads(text))
        )

    def call(self, name: str, arguments: str) -> ToolRequests:
        """What a call of the function ``name`` requests."""
        name = name.rpartition(".")[2]
        requests = self.phrase(name, Wrapping.BRACKETS)
        if requests.transfer and (target := self._target_among(arguments)):
            requests = replace(requests, transfer=self.target(target))
        return requests

    def json_call(self, text: str) -> ToolRequests:
        """What a tool call that is written as JSON requests, whatever its fields are called."""
        try:
            value = json.loads(text)
        except ValueError:
            # It is cut, or JavaScript: look for the name of a function alone.
            names = "|".join(_FUNCTION_KEYS)
            calls = re.finditer(rf"[\"']?(?:{names})[\"']?\s*:\s*[\"']([\w.-]+)", text)
            return _all(self.call(match[1], text[match.end() :]) for match in calls)
        return _all(self._requests_of(value))

    def json_words(self, text: str) -> str:
        """Return the words of a reply that is written as an object; empty if it is something else, such as a call."""
        try:
            value, _ = json.JSONDecoder().raw_decode(text)
        except ValueError:
            return ""
        while isinstance(value, dict) and not _CALL_KEYS.union(_FUNCTION_KEYS) & value.keys():
            names = {name.lower(): name for name in value}
            value = next((value[names[name]] for name in _SPEECH_KEYS if value.get(names.get(name))), "")
        return value if isinstance(value, str) else ""

    def block(self, text: str) -> ToolRequests:
        """What the inside of a block for tool calls requests, where a bare name is a call."""
        name = re.match(r"\W*([\w.-]+)(.*)", text, re.DOTALL)
        return self.call(name[1], name[2]) if name else NO_REQUESTS

    def _transfer(self, text: str, wrapping: Wrapping, named: bool) -> ToolRequests:
        match = _TRANSFER.fullmatch(text)
        if match is None or not (match["transfer"] or match["to"]):
            return NO_REQUESTS
        name = match["name"].replace("\\_", "_").strip(" \t\n:=_-\\\"'“”‘’<>().,!…/")
        target = self.target(name)
        known = self.targets is None or target in self.targets
        sure = named or (wrapping is Wrapping.EMPHASIS and (bool(name) or key(text) in _TRANSFERRING))
        return ToolRequests(transfer=target) if wrapping is Wrapping.BRACKETS or (known and sure) else NO_REQUESTS

    def target(self, name: str) -> str:
        """
        The target that ``name`` means: the first one if there is no name, one whose name is contained in it or contains
        it, else the name as it is, which the server refuses.
        """
        # A request that says only that the call is to be transferred must not get lost.
        targets = self.targets or ()
        if not name or (len(targets) == 1 and key(name) == "name"):
            return next(iter(targets), "nobody")
        wanted = key(name)
        same = [target for target in targets if key(target) == wanted]
        close = [target for target in targets if wanted and (wanted in key(target) or key(target) in wanted)]
        return same[0] if same else close[0] if len(close) == 1 else name

    def _target_among(self, arguments: str) -> str:
        """The target that the arguments of a call name, in any notation; empty if they name none."""
        for target in self.targets or ():
            if key(target) in key(arguments):
                return target
        try:
            value = json.loads(arguments)
        except ValueError:
            value = None
        if isinstance(value, dict):
            texts = {name: text for name, text in value.items() if isinstance(text, str) and text}
            return next((texts[name] for name in _TARGET_KEYS if name in texts), next(iter(texts.values()), ""))
        values = [text for text, is_name in _QUOTED.findall(arguments) if text and not is_name]
        return values[-1] if values else ""

    def _requests_of(self, value: Any) -> Iterator[ToolRequests]:
        match value:
            case list():
                for item in value:
                    yield from self._requests_of(item)
            case dict():
                for name, inner in value.items():
                    if name in _FUNCTION_KEYS and isinstance(inner, str):
                        yield self.call(inner, json.dumps({**value, name: None}))
                    elif inner not in (False, None, "") and "_" in name:
                        yield self.call(name, json.dumps(inner))
                    elif isinstance(inner, str) and name.lower() == "transfer":
                        yield ToolRequests(transfer=self.target(inner))
                    yield from self._requests_of(inner)
            case _:
                pass


def is_name_of_a_request(word: str) -> bool:
    """Whether a function of this name would be one of ours."""
    return bool(RequestReader().phrase(word, Wrapping.BRACKETS))


def _heads(text: str) -> Iterator[str]:
    """What a phrase with a remark behind it may begin with."""
    for pattern in (_NAME_FIRST, _BEFORE_A_REMARK):
        if match := pattern.match(text):
            yield key(match[1])


def _all(requests: Iterator[ToolRequests]) -> ToolRequests:
    together = NO_REQUESTS
    for each in requests:
        together |= each
    return together
