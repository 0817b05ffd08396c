"""Encrypts the recordings that are stored already with the first of ``RECORDING_KEYS``, after a key was added."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from calls.encrypted_storage import EncryptedStorage
from calls.errors import CallsError
from calls.models import Call

PAGE = 500
"""Calls that are looked up at a time."""
_KEY_IN_NAME = re.compile(r"\.[0-9a-f]{16}$")
"""What an earlier run has added to the name of a file."""


@dataclass(slots=True)
class Rekeyed:
    """The counts of one run, so far."""

    done: int = 0
    """Recordings that were looked at."""
    current: int = 0
    """Those that were encrypted with the first key already."""
    plain: int = 0
    """Those that were not encrypted."""
    older: int = 0
    """Those that were encrypted with another key."""
    unreadable: list[str] = field(default_factory=list)
    """What is wrong with those that could not be read. They stay as they are."""

    @property
    def changed(self) -> int:
        return self.plain + self.older


def count_recordings() -> int:
    """The recordings that ``rekey`` looks at."""
    return Call.objects.exclude(recording="").count()


def rekey(*, dry_run: bool = False) -> Iterator[Rekeyed]:
    """
    Encrypt each recording that is not encrypted with the first key. Yields the counts after each.

    Calls go on meanwhile, and a run that was stopped is continued by the next one. Each recording is stored under
    another name before the old file is deleted, so that it can be read at any moment. Raises ``CallsError`` if there is
    no key.
    """
    storage = Call._meta.get_field("recording").storage
    if not isinstance(storage, EncryptedStorage) or storage.first_key_id is None:
        raise CallsError("Recordings are not encrypted here: set RECORDING_KEYS first.", code="no-keys")
    counts = Rekeyed()
    for call in _recorded_calls():
        name = call.recording.name or ""
        try:
            _rekey(call, name, storage, counts, dry_run=dry_run)
        except (CallsError, OSError) as error:
            counts.unreadable.append(f"{name}: {error}")
        counts.done += 1
        yield counts


def _recorded_calls() -> Iterator[Call]:
    recorded = Call.objects.exclude(recording="").order_by("pk").only("recording")
    page = list(recorded[:PAGE])
    while page:
        yield from page
        page = list(recorded.filter(pk__gt=page[-1].pk)[:PAGE])


def _rekey(call: Call, name: str, storage: EncryptedStorage, counts: Rekeyed, *, dry_run: bool) -> None:
    key = storage.key_id_of(name)
    if key == storage.first_key_id:
        counts.current += 1
        if not dry_run:
            for left in {*_names(name, storage)} - {name}:
                storage.delete(left)
        return
    if dry_run:
        storage.open(name).close()  # raises if it cannot be read
    else:
        _store_anew(call, name, storage)
    if key is None:
        counts.plain += 1
    else:
        counts.older += 1


def _store_anew(call: Call, name: str, storage: EncryptedStorage) -> None:
    wanted = _names(name, storage)[0]
    storage.delete(wanted)  # what a run that was stopped has left
    with storage.open(name) as sound:
        stored = storage.save(wanted, sound)
    if Call.objects.filter(pk=call.pk, recording=name).update(recording=stored):
        storage.delete(name)
    else:  # it was deleted, or replaced by that of a later stream
        storage.delete(stored)


def _names(name: str, storage: EncryptedStorage) -> list[str]:
    """The names that this recording may have: that of the first key, those of the others, and that without a key."""
    path = PurePosixPath(name)
    stem = _KEY_IN_NAME.sub("", path.stem)
    ends = [*(f".{key.hex()}" for key in storage.keys), ""]
    return [str(path.with_name(f"{stem}{end}{path.suffix}")) for end in ends]
