"""
Looks at the start of the engine whether the server has the model, without the cost of a completion.

Names of hosted models die: a name that was right when it was configured may be refused a year later, which a caller
would notice first. OpenAI's list of models says when one is switched off, and Groq's whether one is in use.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

from inference.chat.connection import Connection
from inference.types import EngineError

log = logging.getLogger(__name__)

NOTICE_DAYS = 60
"""So many days before a model is switched off the operator is warned."""
SUGGESTED = 5
"""Names of models that an error suggests."""


async def check_model(connection: Connection, *, today: date | None = None) -> None:
    """
    Raise a permanent ``EngineError`` if the key is refused, or if the server has no such model.

    Whatever else goes wrong says nothing of the model: then a completion will tell.
    """
    model = connection.options.model
    try:
        _, listed = await connection.get("/models")
        models = _by_name(listed)
        if models and model not in models:
            # A list may be incomplete, for example for a key of a project.
            status, _ = await connection.get(f"/models/{quote(model)}")
            if status == 404:
                raise EngineError(_missing(connection, model, [*models]), permanent=True)
    except EngineError as error:
        if error.permanent:
            raise
        return log.debug("The list of models could not be read: %s", error)
    facts = models.get(model, {})
    if facts.get("active") is False:
        raise EngineError(
            f"{connection.where} no longer serves {model}: set LLM_MODEL to another one of {_list(connection)}",
            permanent=True,
        )
    if (end := _date(facts.get("shutdown_date"))) is not None:
        days = (end - (today or datetime.now(UTC).date())).days
        if days <= NOTICE_DAYS:
            when = f"in {days} days, on {end}" if days > 0 else f"on {end}"
            log.warning(
                "%s switches %s off %s: set LLM_MODEL to another one of %s", connection.where, model, when,
                _list(connection),
            )  # fmt: skip


def _by_name(listed: Any) -> dict[str, dict[str, Any]]:
    entries = listed.get("data") if isinstance(listed, dict) else None
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return {entry["id"]: entry for entry in entries if isinstance(entry.get("id"), str)}


def _missing(connection: Connection, model: str, names: list[str]) -> str:
    close = get_close_matches(model, names, SUGGESTED, 0.4) or sorted(names)[:SUGGESTED]
    return (
        f"{connection.where} has no model {model}: set LLM_MODEL to one that it has, such as {', '.join(close)}; "
        f"{_list(connection)} lists all"
    )


def _list(connection: Connection) -> str:
    return f"{connection.where.removesuffix('/chat/completions')}/models"


def _date(given: Any) -> date | None:
    """A date as ISO 8601 writes it, or a time in seconds since 1970."""
    try:
        if isinstance(given, int | float) and given > 0:
            return datetime.fromtimestamp(given, UTC).date()
        return date.fromisoformat(str(given)[:10]) if given else None
    except (ValueError, OverflowError, OSError):
        return None
