"""
Defines the facts of a live call, encodes them as text for the spool, and records them.

A fact is recorded behind the call that it is about, perhaps late and perhaps more than once; its id decides that it is
written once.
"""

import json
import logging
import wave
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Literal, TypeAlias, assert_never
from uuid import UUID, uuid4

import msgspec
from django.core.files import File
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from calls import recordings
from calls.costs import add_usage
from calls.encrypted_storage import EncryptedStorage
from calls.errors import CallsError
from calls.models import Call, CallEvent, DoNotCall, Turn
from calls.numbers import caller_number
from calls.plain_text import storable
from calls.services import attempts, webhooks
from calls.services.do_not_call import add_do_not_call
from calls.services.records import get_call, is_forgotten, move, write_event
from calls.stages import END_REASONS
from calls.status import Status

logger = logging.getLogger(__name__)

Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
"""A wall-clock time with its time zone."""


# --- The facts ---------------------------------------------------------------------------------------------


class _Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that every fact has. The tags of the classes below are in spool files: they never change."""

    call_id: UUID
    fact_id: str = msgspec.field(default_factory=lambda: uuid4().hex)
    """The fact is written once under this id."""


class StreamStarted(_Fact, tag="stream-started", frozen=True, kw_only=True):
    """The stream runs, so the call was answered."""

    stream_sid: str
    at: Moment


class TurnEnded(_Fact, tag="turn", frozen=True, kw_only=True):
    """A turn: the words of one side while it had the floor."""

    number: int
    """Counts over all streams of the call."""
    speaker: Literal["caller", "agent"]
    said: str
    heard: str
    """The part of it that reached the other side."""
    interrupted: bool = False
    fallback: bool = False
    """A filler or another engine had to help."""
    started_at: Moment
    ended_at: Moment | None = None
    start_position: int | None = None
    """Samples into the stream, at 8000 Hz; so is ``end_position``."""
    end_position: int | None = None
    stages: Mapping[str, float | None] = {}
    """Seconds by stage of the response, of which ``response_latency`` gets a column of its own."""
    speculation_hits: int = 0
    """Replies made before the turn ended that were used."""
    speculation_waste: int = 0
    """Replies made before the turn ended that were thrown away."""


class EventNoted(_Fact, tag="event", frozen=True, kw_only=True):
    """Anything else worth a line in the call's event log: a key, a fallback, an error. ``data`` is JSON."""

    kind: str
    at: Moment
    data: Mapping[str, object] = {}


class LanguageChanged(_Fact, tag="language", frozen=True, kw_only=True):
    """The caller has changed to another language, and the agent with them."""

    language: str
    at: Moment


class OptedOut(_Fact, tag="opt-out", frozen=True, kw_only=True):
    """
    The person on the line wants no more calls.

    ``how``: they ``asked`` in these ``words``, pressed the ``key``, or the ``agent`` understood them so.
    """

    how: Literal["asked", "key", "agent"]
    words: str = ""
    at: Moment


class TransferRequested(_Fact, tag="transfer", frozen=True, kw_only=True):
    """
    The stream is about to end so that the call can be transferred to the target of its agent with this name.

    An empty ``target`` is the number that an operator has given. The language model chose the name: it is checked here.
    """

    target: str
    at: Moment


class StreamEnded(_Fact, tag="stream-ended", frozen=True, kw_only=True):
    """
    A stream has ended, for one of ``END_REASONS``.

    ``stream`` is the claim's number: the reason of a stream that was lost leaves the one that took over alone.
    """

    reason: str
    stream: int | None = None
    at: Moment


class UsageCounted(_Fact, tag="usage", frozen=True, kw_only=True):
    """
    What a stream used at engines that bill, by kind of engine, name and unit.

    The call has the sum of its streams.
    """

    usage: Mapping[str, Mapping[str, Mapping[str, Annotated[float, msgspec.Meta(ge=0)]]]]
    at: Moment


class RecordingFinished(_Fact, tag="recording", frozen=True, kw_only=True):
    """The recording of one stream is the finished file at ``path``, in the spool of this machine."""

    path: str


Fact: TypeAlias = (
    StreamStarted
    | TurnEnded
    | EventNoted
    | LanguageChanged
    | OptedOut
    | TransferRequested
    | StreamEnded
    | UsageCounted
    | RecordingFinished
)


# --- As text -------------------------------------------------------------------------------------------------


def encode(fact: Fact) -> bytes:
    """The fact as one line of JSON, without its line break. Raises ``CallsError`` if ``data`` is not JSON."""
    try:
        return json.dumps(msgspec.to_builtins(fact, enc_hook=str), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, TypeError, RecursionError) as error:
        raise CallsError(f"A fact of call {fact.call_id} is not JSON: {error}") from error


def decode(line: bytes | str) -> Fact:
    """The fact that ``encode`` wrote, or the previous version. Raises ``CallsError``."""
    try:
        fact = json.loads(line)
        decoded: Fact = msgspec.convert(_from_previous_version(fact) if isinstance(fact, list) else fact, type=Fact)
    except (ValueError, TypeError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise CallsError(f"This is not a fact: {error}") from error
    return decoded


def _from_previous_version(fact: list[object]) -> dict[str, object]:
    """The previous version wrote ``[name, fields]``, with ``who`` for ``speaker``; the next release drops this."""
    name, fields = msgspec.convert(fact, type=tuple[str, dict[str, object]])
    if name == "turn":
        fields["speaker"] = fields.pop("who", None) or fields.get("speaker")
    return {"type": name, **fields}


# --- Into the records ----------------------------------------------------------------------------------------


def record_fact(fact: Fact) -> None:
    """Write one fact to the records of its call. Raises ``CallsError`` if that is impossible for good."""
    match fact:
        case StreamStarted():
            _record_stream_started(fact)
        case TurnEnded():
            _record_turn(fact)
        case EventNoted():
            _record_event(fact)
        case LanguageChanged():
            _record_language(fact)
        case OptedOut():
            _record_opt_out(fact)
        case TransferRequested():
            _record_transfer(fact)
        case StreamEnded():
            _record_stream_ended(fact)
        case UsageCounted():
            _record_usage(fact)
        case RecordingFinished():
            _attach_recording(fact)
        case _:
            assert_never(fact)


def _record_stream_started(fact: StreamStarted) -> None:
    with transaction.atomic():
        call = get_call(fact.call_id)
        data = {} if is_forgotten(call) else {"stream_sid": fact.stream_sid}
        if write_event(fact.fact_id, call.pk, "stream-started", fact.at, data)[1]:
            _follow(call, Status.IN_PROGRESS, fact.at)


def _record_turn(turn: TurnEnded) -> None:
    """Write a turn. Each field of the fact has a column of the same name."""
    columns = msgspec.structs.asdict(turn) | {
        "said": storable(turn.said),
        "heard": storable(turn.heard),
        "stages": dict(turn.stages),
        "response_latency": turn.stages.get("response_latency"),
    }
    with transaction.atomic():
        if is_forgotten(get_call(turn.call_id)):
            columns |= {"said": "", "heard": ""}
        Turn.objects.get_or_create(fact_id=turn.fact_id, defaults=columns)


def _record_event(fact: EventNoted) -> None:
    with transaction.atomic():
        call = get_call(fact.call_id)
        write_event(fact.fact_id, call.pk, fact.kind[:64], fact.at, {} if is_forgotten(call) else fact.data)


def _record_language(fact: LanguageChanged) -> None:
    language = fact.language[:16]
    with transaction.atomic():
        call = get_call(fact.call_id)
        if write_event(fact.fact_id, call.pk, "language-changed", fact.at, {"language": language})[1]:
            Call.objects.filter(pk=call.pk).update(language=language)


def _record_stream_ended(fact: StreamEnded) -> None:
    if fact.reason not in END_REASONS:
        raise CallsError(f"{fact.reason!r} is not a reason for the end of a stream")
    data = {"reason": fact.reason, "stream": fact.stream}
    with transaction.atomic():
        call = get_call(fact.call_id)
        if not write_event(fact.fact_id, call.pk, "stream-ended", fact.at, data)[1]:
            return
        # The attempt is locked before the call, as where the carrier reports the end at the same time. PostgreSQL ended
        # one of the two otherwise (deadlock detected): the report was answered with 503, or the fact waited on disk.
        list(call.attempts.select_for_update(no_key=True).values_list("pk"))
        current = Call.objects.filter(pk=call.pk, end_reason="")
        if fact.stream is not None:
            current = current.filter(streams=fact.stream)
        if current.update(end_reason=fact.reason) and fact.reason == "caller-hung-up":
            # A number without a status callback reports nothing after this.
            _follow(call, Status.COMPLETED, fact.at)


def _record_usage(fact: UsageCounted) -> None:
    with transaction.atomic():
        call = get_call(fact.call_id)
        if not write_event(fact.fact_id, call.pk, "usage", fact.at, msgspec.to_builtins(fact.usage))[1]:
            return
        # This takes the lock of the row, so that the sum is read after that of another process was written.
        Call.objects.filter(pk=call.pk).update(usage=F("usage"))
        call.refresh_from_db(fields=["usage"])
        Call.objects.filter(pk=call.pk).update(usage=add_usage(call.usage, fact.usage))


def _follow(call: Call, status: Status, at: datetime) -> None:
    """Move the call, and the attempt that it is, to the status that its stream implies."""
    attempt = attempts.find_attempt(sid=call.sid or "")
    if attempt is None or not attempts.move_attempt(attempt, attempts.Outcome(status, at=at)):
        move(call, status, at=at)


def _record_opt_out(fact: OptedOut) -> None:
    source = {"key": DoNotCall.Source.KEY, "agent": DoNotCall.Source.AGENT}.get(fact.how, DoNotCall.Source.CALLER)
    with transaction.atomic():
        call = get_call(fact.call_id)
        data = {"how": fact.how, "words": "" if is_forgotten(call) else storable(fact.words)}
        if not write_event(fact.fact_id, call.pk, "opt-out", fact.at, data)[1]:
            return
        if number := caller_number(call.far_number):
            add_do_not_call(number=number, source=source, reason=fact.words, call=call)
        else:
            logger.warning("Call %s: the caller opted out, but has no number that could be listed", call)
        webhooks.announce(call, "call.opted-out", at=fact.at)


def _record_transfer(fact: TransferRequested) -> None:
    with transaction.atomic():
        call = get_call(fact.call_id)
        number = call.agent.transfer_targets.get(fact.target, "") if fact.target else call.transfer_to
        kind = "transfer" if number else "transfer-refused"
        if write_event(fact.fact_id, call.pk, kind, fact.at, {"target": fact.target, "to": number})[1]:
            Call.objects.filter(pk=call.pk).update(transfer_to=number)


def _attach_recording(fact: RecordingFinished) -> None:
    """
    Move the recording into Django's storage, appended to those of the call's earlier streams.

    Every step can be repeated: the name in storage follows from ``fact_id``, and the spool file goes last.
    """
    spooled = Path(fact.path)
    call = get_call(fact.call_id)
    if is_forgotten(call):
        spooled.unlink(missing_ok=True)
        return
    if not CallEvent.objects.filter(fact_id=fact.fact_id).exists():
        if not spooled.is_file():
            raise CallsError(f"The recording {spooled} of call {fact.call_id} is gone")
        storage = call.recording.storage
        name = f"recordings/{call.created_at:%Y/%m/%d}/{call.pk}-{fact.fact_id}.wav"
        previous = call.recording.name
        storage.delete(name)
        with _whole_recording(call, spooled) as sound:
            name = storage.save(name, sound)
        with transaction.atomic():
            write_event(fact.fact_id, call.pk, "recording", timezone.now(), {"file": name})
            # The earlier one may have been encrypted anew meanwhile, under another name.
            replaced = Call.objects.select_for_update().get(pk=call.pk).recording.name
            Call.objects.filter(pk=call.pk).update(recording=name)
            webhooks.announce(call, "call.recording-ready", at=timezone.now())
        for old in {previous or "", replaced or ""} - {name, ""}:
            storage.delete(old)
    spooled.unlink(missing_ok=True)


@contextmanager
def _whole_recording(call: Call, spooled: Path) -> "Iterator[File[bytes]]":
    """The sound of the call's earlier streams, where it can still be read, and that of this one behind it."""
    storage = call.recording.storage
    keys = storage.keys if isinstance(storage, EncryptedStorage) else {}
    with ExitStack() as stack:
        sound: IO[bytes] | None = None
        if call.recording:
            try:
                earlier = stack.enter_context(call.recording.open("rb"))
                sound = stack.enter_context(recordings.whole_sound(spooled, earlier, keys=keys))
            except (FileNotFoundError, EOFError, wave.Error) as error:
                logger.warning("Call %s: the recording before the reconnect is lost: %s", call, error)
        yield File(sound or stack.enter_context(recordings.whole_sound(spooled, keys=keys)))
