"""
Finds what is left of forgotten people outside the rows of their calls: in this machine's spool, in the storage, and in
the texts of other rows.

The spool belongs to the media side, which may be writing to it. Lines are therefore overwritten in their place and
never moved: a line that begins with ``#`` is one that was recorded.
"""

import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.messages.storage.session import SessionStorage
from django.contrib.sessions.models import Session
from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Cast

from calls.dialler_models import DialPause
from calls.errors import CallsError
from calls.models import Call
from calls.services.facts import decode, record_fact
from calls.services.records import FORGOTTEN

logger = logging.getLogger(__name__)

_REJECTED = "rejected.jsonl"
_NOTE = b'{"reason": "forgotten"}'
"""Takes the place of a line of ``rejected.jsonl``; each of them is longer."""
_CALL_ID = re.compile(rb"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_SCANNED = ("calls", "admin", "axes")
"""The applications whose texts are searched."""
_MESSAGES = SessionStorage.session_key
_MOST_NAMED = 5
"""Rows that are named of each table in which something remains."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a spool file, without its line break."""

    path: Path
    at: int
    text: bytes

    @property
    def calls(self) -> frozenset[UUID]:
        return frozenset(UUID(found.decode()) for found in _CALL_ID.findall(self.text))

    @property
    def is_recorded(self) -> bool:
        return self.text.startswith(b"#")

    def overwrite(self, text: bytes = b"#") -> None:
        filler = b"#" if text == b"#" else b" "
        with self.path.open("r+b") as file:
            os.pwrite(file.fileno(), text[: len(self.text)].ljust(len(self.text), filler), self.at)
            os.fsync(file.fileno())


# --- The spool of this machine -------------------------------------------------------------------------------


def record_spooled(calls: Collection[UUID]) -> None:
    """Record what waits in files about these calls, so that no opt-out is lost when their numbers are removed."""
    for line in _lines():
        if line.path.name != _REJECTED and not line.is_recorded and line.calls & {*calls}:
            try:
                record_fact(decode(line.text))
            except CallsError as error:
                logger.warning("A line of %s cannot be recorded and is removed: %s", line.path.name, error)


def remove_from_spool(calls: Collection[UUID] | None = None) -> int:
    """
    Remove these calls from the files of this machine's spool. None: all calls whose person was forgotten.

    Returns how many lines and recordings it has removed.
    """
    lines, recordings = [line for line in _lines() if line.calls], list(_spooled_recordings())
    if calls is None:
        known = {call for line in lines for call in line.calls} | {call for call, _ in recordings}
        calls = set(_forgotten(known)) if known else ()
    removed = 0
    for line in lines:
        if line.calls & {*calls}:
            line.overwrite(_NOTE if line.path.name == _REJECTED else b"#")
            removed += 1
    for call, path in recordings:
        if call in calls:
            # If another process is about to store it, it finds that the person was forgotten.
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _forgotten(calls: Iterable[UUID]) -> Iterator[UUID]:
    outbound = Q(direction=Call.Direction.OUTBOUND, to_number=FORGOTTEN)
    inbound = Q(direction=Call.Direction.INBOUND, from_number=FORGOTTEN)
    yield from Call.objects.filter(outbound | inbound, pk__in=calls).values_list("pk", flat=True)


def _lines() -> Iterator[_Line]:
    """The whole lines of the spooled facts, recorded or not, that were not removed before. Oldest file first."""
    folders = (Path(settings.SPOOL_DIR) / name for name in ("facts", "recording-facts"))
    for path in sorted(path for folder in folders for path in folder.glob("*.jsonl")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # its process has recorded everything
            continue
        at = 0
        for text in content.splitlines(keepends=True):
            if text.endswith(b"\n") and text.strip(b"#\n "):
                yield _Line(path, at, text.rstrip(b"\n"))
            at += len(text)


def _spooled_recordings() -> Iterator[tuple[UUID, Path]]:
    for path in (Path(settings.SPOOL_DIR) / "recordings").glob("*.wav"):
        try:
            yield UUID(path.name.partition(".")[0]), path
        except ValueError:
            continue


# --- The storage ---------------------------------------------------------------------------------------------


def stray_recordings(calls: Iterable[Call]) -> dict[UUID, list[str]]:
    """
    The stored files of these calls that no row names: a process died, or a deletion failed, between file and row.

    A storage that cannot list its files has none that could be found.
    """
    folders: dict[str, list[Call]] = {}
    for call in calls:
        folders.setdefault(f"recordings/{call.created_at:%Y/%m/%d}", []).append(call)
    stray: dict[UUID, list[str]] = {}
    storage = Call._meta.get_field("recording").storage
    for folder, those in folders.items():
        try:
            names = storage.listdir(folder)[1]
        except (FileNotFoundError, NotImplementedError):
            continue
        for call in those:
            found = [f"{folder}/{name}" for name in names if name.startswith(str(call.pk))]
            if left := [name for name in found if name != call.recording.name]:
                stray[call.pk] = left
    return stray


# --- Texts of other rows -------------------------------------------------------------------------------------


def clean_texts(person: str) -> None:
    """
    Take a person out of the texts of the installation itself: the log of the admin, failed logins, the reasons of
    pauses, and messages that operators have not been shown yet.
    """
    _clean_sessions(person)
    for model, field, rows in _rows_with(person):
        if model._meta.app_label == "axes":
            rows.delete()  # a failed login; two of them must not become alike
        elif _is_about_nobody(model):
            for row in rows.only(field.name):
                text = str(getattr(row, field.name))
                limit = getattr(field, "max_length", None)
                clean = re.sub(_pattern_of(person), rf"\1{FORGOTTEN}", text)
                model._default_manager.filter(pk=row.pk).update(**{field.name: clean[:limit]})


def _clean_sessions(person: str) -> None:
    """Remove messages to operators that name a person and wait in their sessions."""
    for session in Session.objects.iterator():
        data = session.get_decoded()
        if re.search(_pattern_of(person), str(data.get(_MESSAGES, ""))):
            del data[_MESSAGES]
            session.session_data = Session.objects.encode(data)
            session.save(update_fields=["session_data"])


def remaining_texts(person: str) -> Iterator[str]:
    """What still names a person after they were forgotten, and why."""
    for model, field, rows in _rows_with(person):
        if model._meta.model_name == "donotcall" and field.name == "number":
            yield "the entry of the do-not-call list: only that keeps the number from being dialled again"
            continue
        names = [str(row.pk) for row in rows.only("pk")[: _MOST_NAMED + 1]]
        listed = ", ".join(names[:_MOST_NAMED]) + (" and more" if len(names) > _MOST_NAMED else "")
        why = "an operator wrote it" if model._meta.model_name == "agent" else "it belongs to somebody else's record"
        yield f"{field.verbose_name} of {model._meta.verbose_name} {listed}: {why}"


def _pattern_of(person: str) -> str:
    """
    What a number or an address looks like in a text, a number also without its +. The first group stands before it.

    It is no part of a longer one: +49301234 has left no trace in a text about +493012345.
    """
    text = person.lstrip("+")
    inside = "0-9" if text.isdecimal() else "0-9A-Za-z_"
    return rf"(^|[^{inside}])\+?{re.escape(text)}(?=$|[^{inside}])"


def _is_about_nobody(model: type[models.Model]) -> bool:
    """Whether the rows of a table are about the installation: what they say of a person may be overwritten."""
    return model in (LogEntry, DialPause)


def _rows_with(
    person: str,
) -> Iterator[tuple[type[models.Model], "models.Field[object, object]", "models.QuerySet[models.Model]"]]:
    """Each text column in which a person occurs, with its rows."""
    text, pattern = person.lstrip("+"), _pattern_of(person)
    for label in _SCANNED:
        for model in apps.get_app_config(label).get_models():
            for field in model._meta.get_fields():
                if not isinstance(field, models.CharField | models.TextField | models.JSONField) or field.choices:
                    continue
                rows = model._default_manager.annotate(_text=Cast(field.name, models.TextField())).filter(
                    _text__contains=text, _text__regex=pattern
                )
                if rows.exists():
                    yield model, field, rows


def empty_journal() -> str:
    """Have SQLite overwrite its journal, which holds what was removed. Returns what remains."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return ""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        busy, *_ = cursor.fetchone()
    return (
        "the journal of SQLite: another process reads the database; its next checkpoint overwrites it" if busy else ""
    )
