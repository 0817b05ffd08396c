"""
Accepting calls that are to be dialled.

An accepted call is a row with a ``due_at``; ``claiming`` and ``dialling`` do the rest. A request is checked completely
before anything is written.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from calls.errors import CallsError
from calls.models import Agent, ApiKey, Call, DoNotCall, MachineDetection
from calls.number_forms import forms_of, person_of
from calls.numbers import canonical, read_number
from calls.plain_text import is_storable
from calls.services import webhooks
from calls.services.dialable import dialable, refuse_listed, refused_at
from calls.status import Status
from calls.variables import faults_of, placeholders
from calls.waking import wake
from calls.zones import find_zone

logger = logging.getLogger(__name__)

LONGEST_CALL = 4 * 3600
"""Seconds: the longest call that Twilio allows by default."""
FURTHEST = timedelta(days=366)
"""The furthest time ahead for which a call may be scheduled. A later date is most likely a mistyped year."""
MOST_LATE = timedelta(minutes=10)
"""
The longest time that ``scheduled_for`` may be in the past.

Clocks differ, and a list takes time to prepare. A mistyped year, however, must not dial at once.
"""
BATCH = 500
"""Calls that are written or looked up in one query; SQLite limits the number of its parameters."""
READ_LIST = 50
"""From more requests than this on, the whole do-not-call list is read once instead of one query per request."""


@dataclass(frozen=True, slots=True)
class NewCall:
    """A request for a call. For an empty field the agent's own setting applies."""

    to: str
    """The number to dial, as the person wrote it."""
    agent: str
    """The name of an active agent."""
    from_number: str = ""
    scheduled_for: datetime | None = None
    """The call is not dialled before this time; None: dial now."""
    variables: Mapping[str, object] = field(default_factory=dict)
    """Values for the placeholders in the agent's texts."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """Data of the requester, which is returned with the call and its webhooks."""
    max_duration: int | None = None
    """Seconds."""
    machine_detection: str = ""
    """One of ``MachineDetection``."""
    record: bool | None = None
    timezone: str = ""
    """The person's time zone; empty: every time zone that the number may be in counts."""

    @property
    def digest(self) -> str:
        """A hash that is the same for the same request."""
        moment = self.scheduled_for and self.scheduled_for.astimezone(UTC)
        same = {**asdict(self), "scheduled_for": moment}
        return hashlib.sha256(json.dumps(same, sort_keys=True, default=str).encode()).hexdigest()


class KeyReused(CallsError):
    """An idempotency key was used before, with a different request."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The idempotency key {key!r} was used for a different request. Use a new key for a new call.",
            code="idempotency-key-reused",
            field="Idempotency-Key",
        )


class DuplicatePerson(CallsError):
    """The number of a call stands in the same list before. ``first`` is the index of that call."""

    def __init__(self, first: int) -> None:
        super().__init__(describe_duplicate(first), code="duplicate-person", field="to")
        self.first = first


def describe_duplicate(first: int) -> str:
    return f"This is the same person as in row {first}. With `allow_duplicates` they are called for each row."


class InvalidCalls(CallsError):
    """Some calls of a batch cannot be placed. ``errors`` maps their index in the batch to what is wrong."""

    def __init__(self, errors: Mapping[int, CallsError]) -> None:
        super().__init__(f"{len(errors)} of the calls cannot be placed, so none was placed.", code="invalid-batch")
        self.errors = errors


def place_call(wanted: NewCall, *, api_key: ApiKey | None = None, idempotency_key: str = "") -> tuple[Call, bool]:
    """
    Accept a call that is to be dialled now, or at the time for which it is scheduled.

    Returns the call, and whether it is new: the same ``idempotency_key`` with the same request returns the same call.
    Raises ``CallsError`` with the field that is wrong.
    """
    if idempotency_key and (known := _placed_before(wanted, api_key, idempotency_key)):
        return known, False
    call = _Checker().check(wanted)
    call.api_key, call.idempotency_key = api_key, idempotency_key or None
    try:
        with transaction.atomic():
            call.save(force_insert=True)
            _announce_accepted([call])
    except IntegrityError:
        known = _placed_before(wanted, api_key, idempotency_key) if idempotency_key else None
        if known is None:
            raise
        return known, False
    return call, True


def place_calls(
    wanted: Sequence[NewCall],
    *,
    api_key: ApiKey | None = None,
    idempotency_key: str = "",
    dry_run: bool = False,
    allow_duplicates: bool = False,
) -> tuple[list[Call], bool]:
    """
    Accept all of these calls, or raise ``InvalidCalls`` and accept none of them.

    Returns the calls in order, and whether they are new. ``idempotency_key`` belongs to the list as a whole. With
    ``dry_run`` the calls are only checked. Without ``allow_duplicates`` no two may be to one number, however it is
    written and in whichever of its forms.
    """
    if not wanted:
        return [], True
    keys = _keys(idempotency_key, len(wanted))
    if idempotency_key and (known := _list_placed_before(wanted, api_key, idempotency_key, keys)):
        return known, False
    checker = _Checker(wanted)
    calls = checker.check_all(wanted, allow_duplicates=allow_duplicates)
    for call, key in zip(calls, keys, strict=True):
        call.api_key, call.idempotency_key = api_key, key
    if dry_run:
        return calls, True
    try:
        with transaction.atomic():
            Call.objects.bulk_create(calls, batch_size=BATCH)
            _announce_accepted(calls)
    except IntegrityError:
        known = _list_placed_before(wanted, api_key, idempotency_key, keys) if idempotency_key else []
        if not known:
            raise
        return known, False
    return calls, True


def find_waiting(wanted: Sequence[NewCall]) -> list[int]:
    """
    Return the indices of those calls to whose number, in any of its forms, another call is waiting already.

    They may be placed: a person may be called for several reasons. The operator is told, since it may be a mistake.
    """
    indices: dict[str, list[int]] = {}
    for index, new in enumerate(wanted):
        indices.setdefault(_person(new.to), []).append(index)
    numbers = [form for person in indices for form in forms_of(person)]
    waiting = Call.objects.filter(direction=Call.Direction.OUTBOUND, due_at__isnull=False)
    found: set[str] = set()
    for start in range(0, len(numbers), BATCH):
        page = waiting.filter(to_number__in=numbers[start : start + BATCH])
        found.update(map(person_of, page.values_list("to_number", flat=True)))
    return sorted(index for person in found for index in indices[person])


def _person(text: str) -> str:
    """Return what tells the people of a list apart, whatever the spelling and the form of their numbers."""
    return person_of(canonical(text))


def _keys(idempotency_key: str, count: int) -> list[str | None]:
    """Return one key for each call of a list, or None for each if the list has no key."""
    if not idempotency_key:
        return [None] * count
    digest = hashlib.sha256(idempotency_key.encode()).hexdigest()
    return [f"list:{digest}:{index}" for index in range(count)]


def _list_placed_before(
    wanted: Sequence[NewCall], api_key: ApiKey | None, idempotency_key: str, keys: Sequence[str | None]
) -> list[Call]:
    """Return the calls of this list if it was placed before, else none. Raises ``KeyReused`` for a different list."""
    candidates = Call.objects.select_related("agent").filter(api_key=api_key)
    # The first key shows whether a list with this key exists; the key after the last, whether that list was longer.
    first, *_, beyond = _keys(idempotency_key, len(wanted) + 1)
    known = {call.idempotency_key: call for call in candidates.filter(idempotency_key__in=(first, beyond))}
    if not known:
        return []
    # SQLite limits the number of parameters of one query.
    for start in range(0, len(keys), BATCH):
        page = candidates.filter(idempotency_key__in=keys[start : start + BATCH])
        known |= {call.idempotency_key: call for call in page}
    found = [known.get(key) for key in keys]
    if beyond in known or any(
        call is None or call.request_digest != new.digest for call, new in zip(found, wanted, strict=True)
    ):
        raise KeyReused(idempotency_key)
    return [call for call in found if call is not None]


def _placed_before(wanted: NewCall, api_key: ApiKey | None, idempotency_key: str) -> Call | None:
    """Return the call of this request if it was placed before. Raises ``KeyReused`` for a different request."""
    known = Call.objects.select_related("agent").filter(api_key=api_key, idempotency_key=idempotency_key).first()
    if known is not None and known.request_digest != wanted.digest:
        raise KeyReused(idempotency_key)
    return known


def _announce_accepted(calls: Iterable[Call]) -> None:
    webhooks.announce_each(calls, "call.queued", at=timezone.now())
    wake("dial_due")


class _Checker:
    """
    Turns requests into calls, or raises ``CallsError``.

    One instance checks all requests of a list, and looks each thing up once for all of them.
    """

    def __init__(self, wanted: Sequence[NewCall] = ()) -> None:
        self._agents: dict[str, Agent | None] = {}
        self._placeholders: dict[int, set[str]] = {}
        self._do_not_call = set(DoNotCall.objects.values_list("number", flat=True)) if len(wanted) > READ_LIST else None
        """The whole do-not-call list; None for few requests, for which the database is asked one by one."""

    def check_all(self, wanted: Sequence[NewCall], *, allow_duplicates: bool) -> list[Call]:
        """Return the calls of a list. Raises ``InvalidCalls`` for all that are wrong."""
        calls: list[Call] = []
        errors: dict[int, CallsError] = {}
        first: dict[str, int] = {}
        for index, new in enumerate(wanted):
            # Also of calls that are refused, so that the answer has all that is wrong.
            earlier = first.setdefault(_person(new.to), index)
            try:
                call = self.check(new)
                if earlier != index and not allow_duplicates:
                    raise DuplicatePerson(earlier)
                calls.append(call)
            except CallsError as error:
                errors[index] = error
        if errors:
            raise InvalidCalls(errors)
        return calls

    def check(self, wanted: NewCall) -> Call:
        to = dialable(wanted.to, field="to")
        refuse_listed(to, field="to", listed=self._do_not_call)
        agent = self._agent(wanted.agent)
        for name, fault in faults_of(wanted.variables).items():
            raise CallsError(f"The variable {name[:64]!r}: {fault}", field="variables")
        if missing := self._needed_variables(agent) - set(wanted.variables):
            names = ", ".join(sorted(missing))
            text = f"The agent {agent.name} also needs these variables: {names}."
            raise CallsError(text, code="missing-variables", field="variables")
        if wanted.machine_detection and wanted.machine_detection not in MachineDetection.values:
            choices = ", ".join(MachineDetection.values)
            raise CallsError(f"machine_detection must be one of: {choices}.", field="machine_detection")
        if wanted.machine_detection == MachineDetection.MESSAGE and not agent.voicemail_message:
            text = f"The agent {agent.name} has no voicemail message that it could leave."
            raise CallsError(text, code="no-voicemail-message", field="machine_detection")
        if wanted.max_duration is not None and not 10 <= wanted.max_duration <= LONGEST_CALL:
            raise CallsError(f"max_duration must be 10 to {LONGEST_CALL} seconds.", field="max_duration")
        if wanted.timezone:
            find_zone(wanted.timezone)
        now = timezone.now()
        if wanted.scheduled_for is not None and wanted.scheduled_for < now - MOST_LATE:
            raise CallsError("This time has passed.", code="in-the-past", field="scheduled_for")
        if wanted.scheduled_for is not None and wanted.scheduled_for > now + FURTHEST:
            raise CallsError("This time is more than a year from now.", field="scheduled_for")
        return Call(
            direction=Call.Direction.OUTBOUND,
            status=Status.QUEUED,
            from_number=self._caller_id(wanted.from_number, agent),
            to_number=to,
            agent=agent,
            created_at=now,
            scheduled_for=wanted.scheduled_for,
            due_at=max(now, wanted.scheduled_for or now),
            variables=dict(wanted.variables),
            metadata=dict(wanted.metadata),
            max_duration=wanted.max_duration,
            machine_detection=wanted.machine_detection,
            record=wanted.record,
            timezone=wanted.timezone,
            request_digest=wanted.digest,
        )

    def _agent(self, name: str) -> Agent:
        if name not in self._agents:
            known = Agent.objects.filter(name=name, active=True) if is_storable(name) else Agent.objects.none()
            self._agents[name] = known.first()
        agent = self._agents[name]
        if agent is None:
            raise CallsError(f"There is no active agent {name!r}.", code="unknown-agent", field="agent")
        return agent

    def _needed_variables(self, agent: Agent) -> set[str]:
        if agent.pk not in self._placeholders:
            texts = (agent.prompt, agent.greeting, agent.disclosure, agent.voicemail_message)
            self._placeholders[agent.pk] = set().union(*(placeholders(text) for text in texts))
        return self._placeholders[agent.pk]

    @staticmethod
    def _caller_id(wanted: str, agent: Agent) -> str:
        number = wanted or agent.phone_number or settings.TWILIO_PHONE_NUMBER
        if not number:
            text = "There is no number to call from. Set TWILIO_PHONE_NUMBER, or the agent's phone number."
            raise CallsError(text, code="no-caller-id", field="from")
        with refused_at("from"):
            return read_number(number)
