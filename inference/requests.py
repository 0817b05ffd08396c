"""Defines what a language model may request beside the words of its reply. Imports only the standard library."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class ToolRequests:
    """
    The requests of a reply to the server; false if there are none.

    A request is considered once the caller has heard the reply. The server decides whether it is carried out. To add
    one, add a field here, say in ``inference.chat`` how a model writes it, and in ``media.turns.floor`` what it
    does: everything between passes this value on as it is.
    """

    end_call: bool = False
    """End the call."""
    transfer: str = ""
    """Transfer the call to the target of this name."""
    opt_out: bool = False
    """Never call this caller again."""
    wait: bool = False
    """Wait: the caller has not finished. It stands in place of words and counts at once."""

    def __bool__(self) -> bool:
        return self != NO_REQUESTS

    def __or__(self, later: ToolRequests) -> ToolRequests:
        """Both together; of two different values of one field the earlier counts."""
        return ToolRequests(*(mine or other for mine, other in zip(astuple(self), astuple(later), strict=True)))


NO_REQUESTS = ToolRequests()
