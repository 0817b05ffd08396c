"""
Builds the messages of a request from a conversation.

Each request begins with the messages of the request before it, so that the server finds them in its prefix cache: the
system message never changes during a call, and turns are only added. When the context is full, so many of the oldest
turns are dropped at once that there is room for many new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from inference.chat.inert import inert
from inference.types import BROKEN_OFF, FINISHED, NOT_SAID, Message, Tools

PICKS_UP = "(The call is connected.)"
"""The caller's first turn where the agent spoke first, since some chat templates require that a user begins."""
GOES_ON = "..."
"""The caller's next turn while it is not known, since some chat templates require that a user ends."""
GOODBYE = "When the conversation is over and you have said goodbye, write {marker} at the very end of that reply."
TRANSFER = (
    "You can hand the caller on to: {names}. When the caller wants or needs that, say in one short sentence that you "
    "will connect them, and write {marker} at its very end, with the name as it stands here."
)
TRANSFER_MARKER = "[TRANSFER name]"
OPT_OUT = "When the caller asks not to be called any more, answer with {marker} and nothing else."
OPT_OUT_MARKER = "[DO_NOT_CALL]"
WAIT = (
    "When the caller's last words break off in the middle of what they are saying, answer with {marker} and nothing "
    "else: they will go on. Answer everything else with words, and always what comes with the note {finished}"
)
RECITED = (
    "When the conversation is over and",
    "When the caller wants or needs",
    "When the caller asks not to be called",
    "When the caller's last words break off",
)
"""How these instructions begin. Nobody says so to a caller; a model that does recites what it was told. "You can hand
the caller on" is left out: replies that begin with "You can" would have to wait for the next words."""
WAIT_MARKER = "[WAIT]"
"""The same where requests are tool calls: some servers send those only when they are complete, and a marker is known to
be one from its first letter."""
END_CALL_FUNCTION = "End the call. Only when the conversation is over, and with a goodbye in the same reply."
TRANSFER_FUNCTION = "Hand the caller on, when they want or need it. Say in the same reply that you will connect them."
OPT_OUT_FUNCTION = "The caller asks not to be called any more. They are told that they will not be."
ENDS = {"finished": FINISHED, "broken-off": BROKEN_OFF}
"""What the language model is told at the very end, by the role that stands for it."""
NOTES = ("unsaid", *ENDS)
"""The roles of notes about the conversation, which nobody has said."""
KEPT = 0.6
"""Share of the room that the turns take after the oldest ones were dropped."""

Turn = tuple[str, str]
"""Role and content."""


def tokens(text: str) -> int:
    """
    Estimate how many tokens a turn has, rather too high than too low.

    English has 4 to 5 bytes to the token, other languages in Latin script 3 to 4, the rest about 3 or more; the
    template adds some 5 tokens to each turn.
    """
    return len(text.encode()) // 3 + 5


def prompt(
    messages: Sequence[Message], tools: Tools, *, end_call_marker: str, room: int, ends_with_user: bool = False
) -> list[dict[str, str]]:
    """
    Return the conversation as strict chat templates require it: one system message, then user and assistant by turns.

    The last turns are kept that fit into ``room`` tokens together with the system message. What was said in them is
    data: it is made inert, while the system message may say how requests are written.
    """
    system = [message.content for message in messages if message.role == "system"]
    if end_call_marker:
        system.append(GOODBYE.format(marker=end_call_marker))
    if tools.transfer_targets:
        system.append(TRANSFER.format(names=", ".join(tools.transfer_targets), marker=TRANSFER_MARKER))
    if tools.opt_out:
        system.append(OPT_OUT.format(marker=OPT_OUT_MARKER))
    if tools.may_wait:
        system.append(WAIT.format(marker=WAIT_MARKER, finished=FINISHED))
    head = [("system", "\n\n".join(system))] if system else []
    spoken = [message for message in messages if message.role != "system"]
    if not spoken or spoken[0].role == "assistant":
        spoken.insert(0, Message("user", PICKS_UP))
    turns = [(role, _content(list(lines))) for role, lines in groupby(spoken, _role)]
    if ends_with_user and turns[-1][0] != "user":
        turns.append(("user", GOES_ON))
    kept = fitting(turns, room - sum(tokens(text) for _, text in head))
    return [{"role": role, "content": content} for role, content in [*head, *kept]]


def _role(message: Message) -> str:
    return "user" if message.role in NOTES else message.role


def _content(lines: Sequence[Message]) -> str:
    """The lines of one turn, made inert, between what the agent has not said of the turn before and the last note."""
    notes = [NOT_SAID.format(inert(line.content)) for line in lines if line.role == "unsaid"]
    words = inert(" ".join(line.content for line in lines if line.role not in NOTES))
    end = [ENDS[line.role] for line in lines if line.role in ENDS]
    return " ".join(filter(None, [*notes, words, *end])) or GOES_ON


def functions(tools: Tools, *, may_end_call: bool) -> list[dict[str, Any]]:
    """Return the functions that the model may call, for the field ``tools`` of a request."""
    described: list[dict[str, Any]] = []
    if may_end_call:
        described.append(_function("end_call", END_CALL_FUNCTION))
    if tools.transfer_targets:
        target = {"type": "string", "enum": list(tools.transfer_targets)}
        described.append(_function("transfer_call", TRANSFER_FUNCTION, target=target))
    if tools.opt_out:
        described.append(_function("do_not_call", OPT_OUT_FUNCTION))
    return described


def _function(name: str, description: str, **parameters: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def fitting(turns: Sequence[Turn], room: int) -> Sequence[Turn]:
    """
    Return the last turns that fit into ``room`` tokens, beginning with a user's. The last turn is always kept.

    When the turns no longer fit, so many are dropped that ``KEPT`` of the room is used. To find those points the
    conversation is followed from its beginning, so that every request until the next drop begins with the same turn.
    """
    start = total = 0
    for end, (role, text) in enumerate(turns, 1):
        total += tokens(text)
        if role == "user" and total > room:
            while start < end - 1 and (total > KEPT * room or turns[start][0] != "user"):
                total -= tokens(turns[start][1])
                start += 1
    return turns[start:]
