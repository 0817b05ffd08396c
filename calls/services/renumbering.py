"""
Brings stored numbers and addresses into the one form in which ``calls.numbers`` reads them.

For rows of an earlier version, or of an earlier ``phonenumbers``. Rows are changed by compare-and-set in small
transactions, so calls go on meanwhile, and a run that was interrupted is repeated. The digests of requests stay: they
are those of the text that was sent.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps as current_apps
from django.db import IntegrityError, models, transaction

from calls.dial_rules import may_exist
from calls.numbers import NumberRefused, canonical, number_in, read_address

PAGE = 500
"""Rows that are read at once, and changed in one transaction."""
MOST_SHOWN = 20
"""Different values of a column that a report shows. Further ones are only counted."""
_FORGOTTEN = "forgotten"  # what ``privacy`` leaves in place of a number
_COLUMNS = {
    "Call": ("from_number", "to_number", "transfer_to"),
    "DialAttempt": ("from_number", "to_number"),
    "Agent": ("phone_number",),
}

Models = Callable[[str, str], type[models.Model]]
"""Returns a model by the names of its application and its class, as ``apps.get_model`` does."""


@dataclass(slots=True)
class Report:
    """What a run has changed, or would change. The keys are columns, such as ``Call.from_number``."""

    changed: Counter[str] = field(default_factory=Counter)
    merged: int = 0
    """Entries of the do-not-call list that became one with another."""
    taken: list[str] = field(default_factory=list)
    """Rows that stay as they are, because another row has the number already and only one may."""
    unreadable: dict[str, Counter[str]] = field(default_factory=dict)
    """Values that are neither a number nor an address, and how often. They stay as they are."""
    impossible: Counter[str] = field(default_factory=Counter)
    """Numbers of the do-not-call list that cannot exist, so that they stop no call."""


def renumber(*, dry_run: bool = False, get_model: Models = current_apps.get_model, using: str = "default") -> Report:
    """
    Bring every stored number into its one form. With ``dry_run`` the report is the same, and nothing is changed.

    Of two entries of the do-not-call list that become one, the older date stays, and a reason if either has one.
    """
    run = _Run(get_model, using, dry_run)
    for name, columns in _COLUMNS.items():
        run.change_columns(name, columns)
    run.change_targets()
    run.merge_entries()
    return run.report


class _Run:
    def __init__(self, get_model: Models, using: str, dry_run: bool) -> None:
        self.report = Report()
        self._get_model = get_model
        self._using = using
        self._dry_run = dry_run
        self._claimed: set[tuple[str, str]] = set()
        """Unique values that a dry run would have written, by column."""

    def change_columns(self, name: str, columns: tuple[str, ...]) -> None:
        for page in self._pages(name, columns):
            with transaction.atomic(using=self._using):
                for column in columns:
                    self._change_column(name, column, [(row["pk"], row[column]) for row in page])

    def _change_column(self, name: str, column: str, values: list[tuple[Any, str]]) -> None:
        key = f"{name}.{column}"
        rows: dict[str, list[Any]] = {}
        for pk, old in values:
            if old and old != _FORGOTTEN:
                rows.setdefault(old, []).append(pk)
        for old, pks in rows.items():
            new = self._read(key, old, len(pks))
            if new == old:
                continue
            for some in self._free(key, pks, new):
                self._update(key, some, {column: old}, {column: new})

    def _free(self, key: str, pks: list[Any], new: str) -> list[list[Any]]:
        """The rows that may have the new value, in groups that are written at once."""
        if key not in ("Agent.phone_number", "DialAttempt.to_number"):
            return [pks]
        open_row = models.Q(active=True) if key.startswith("Agent") else models.Q(ended_at=None)
        name, column = key.split(".")
        unique = set(self._rows(name).filter(open_row, pk__in=pks).values_list("pk", flat=True))
        free = []
        for pk in pks:
            others = self._rows(name).filter(open_row, **{column: new}).exclude(pk=pk)
            if pk in unique and ((key, new) in self._claimed or others.exists()):
                self.report.taken.append(f"{key} of {pk}: another row has {new}")
                continue
            if pk in unique:
                self._claimed.add((key, new))
            free.append([pk])
        return free

    def _update(self, key: str, pks: list[Any], old: dict[str, Any], new: dict[str, Any]) -> None:
        count = len(pks)
        if not self._dry_run:
            try:
                with transaction.atomic(using=self._using):
                    count = self._rows(key.split(".")[0]).filter(pk__in=pks, **old).update(**new)
            except IntegrityError:  # another process has written the same number in this instant
                self.report.taken.append(f"{key} of {pks[0]}: another row has {next(iter(new.values()))}")
                return
        if count:
            self.report.changed[key] += count

    def change_targets(self) -> None:
        """The numbers to which agents transfer are the values of a JSON object."""
        key = "Agent.transfer_targets"
        for page in self._pages("Agent", ("transfer_targets",)):
            for row in page:
                old = row["transfer_targets"]
                new = {name: self._read(key, number) for name, number in old.items()} if isinstance(old, dict) else old
                if new != old:
                    self._update(key, [row["pk"]], {"transfer_targets": old}, {"transfer_targets": new})

    def merge_entries(self) -> None:
        key = "DoNotCall.number"
        for page in self._pages("DoNotCall", ("number",)):
            for row in page:
                old = row["number"]
                new = number_in(canonical(old))
                if not new:
                    self._note_unreadable(key, old)
                    continue
                if not may_exist(new):
                    self._note(self.report.impossible, new)
                if new != old:
                    self._merge_entry(key, row["pk"], old, new)

    def _merge_entry(self, key: str, pk: Any, old: str, new: str) -> None:
        if self._dry_run:
            self.report.merged += (key, new) in self._claimed or self._rows("DoNotCall").filter(number=new).exists()
            self._claimed.add((key, new))
            self.report.changed[key] += 1
            return
        try:
            with transaction.atomic(using=self._using):
                merged = self._rename_entry(pk, old, new)
        except IntegrityError:  # another process has added the number in this instant, so that it is found now
            with transaction.atomic(using=self._using):
                merged = self._rename_entry(pk, old, new)
        self.report.merged += merged
        self.report.changed[key] += 1

    def _rename_entry(self, pk: Any, old: str, new: str) -> bool:
        """Give an entry its new number, and return whether it became one with the entry that had it."""
        entries = self._rows("DoNotCall").select_for_update()
        entry: Any = entries.filter(pk=pk, number=old).first()
        other: Any = entries.filter(number=new).first()
        if entry is None:  # removed meanwhile
            return False
        if other is not None:
            older, younger = sorted((entry, other), key=lambda one: (one.created_at, one.pk))
            entry.created_at, entry.source = older.created_at, older.source
            entry.reason = older.reason or younger.reason
            entry.call_id = older.call_id or younger.call_id
            other.delete()
        entry.number = new
        entry.save(using=self._using)
        # The admin's log shows the entry by its number, and ``forget`` looks for it there.
        log = self._get_model("admin", "LogEntry")._default_manager.using(self._using)
        entries_of_log = log.filter(content_type__app_label="calls", content_type__model="donotcall", object_repr=old)
        entries_of_log.update(object_repr=new)
        return other is not None

    def _read(self, key: str, text: Any, count: int = 1) -> str:
        if not isinstance(text, str):
            return text  # type: ignore[no-any-return]
        try:
            return read_address(text)
        except NumberRefused:
            self._note_unreadable(key, text, count)
            return canonical(text)

    def _note_unreadable(self, key: str, text: str, count: int = 1) -> None:
        self._note(self.report.unreadable.setdefault(key, Counter()), text, count)

    def _note(self, values: Counter[str], text: str, count: int = 1) -> None:
        if text in values or len(values) < MOST_SHOWN:
            values[text] += count
        else:
            values["others"] += count

    def _rows(self, name: str) -> models.QuerySet[Any]:
        return self._get_model("calls", name)._default_manager.using(self._using)

    def _pages(self, name: str, columns: tuple[str, ...]) -> Iterator[list[dict[str, Any]]]:
        """Yield all rows in the order of their keys. Only these columns are read: others may not exist yet."""
        rows = self._rows(name).order_by("pk").values("pk", *columns)
        page = list(rows[:PAGE])
        while page:
            yield page
            page = list(rows.filter(pk__gt=page[-1]["pk"])[:PAGE])
