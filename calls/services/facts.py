"""The facts of a live call, written behind it. Each comes with an id under which it is written once."""

import logging
import wave
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.files import File
from django.db import transaction
from django.utils import timezone

from calls import recordings
from calls.errors import CallsError
from calls.models import E164, Call, CallEvent, DoNotCall, Turn
from calls.services import attempts, webhooks
from calls.services.do_not_call import add_do_not_call
from calls.services.records import END_REASONS, clean, get_call, moment, move, write_event
from calls.status import Status

logger = logging.getLogger(__name__)


def record_stream_started(*, fact_id: str, call_id: UUID | str, stream_sid: str, at: datetime | str) -> None:
    """The stream runs, so the call was answered."""
    when = moment(at)
    with transaction.atomic():
        call = get_call(call_id)
        if write_event(fact_id, call.pk, "stream-started", when, {"stream_sid": stream_sid})[1]:
            _follow(call, Status.IN_PROGRESS, when)


def record_turn(
    *,
    fact_id: str,
    call_id: UUID | str,
    number: int,
    speaker: str,
    said: str,
    heard: str,
    interrupted: bool,
    fallback: bool,
    started_at: datetime | str,
    ended_at: datetime | str | None,
    stages: Mapping[str, float | None],
    start_position: int | None = None,
    end_position: int | None = None,
    speculation_hits: int = 0,
    speculation_waste: int = 0,
) -> None:
    """One turn; ``stages`` are seconds by name, of which ``response_latency`` is kept searchable as well."""
    if speaker not in Turn.Speaker:
        raise CallsError(f"A turn is the caller's or the agent's, not {speaker!r}'s")
    with transaction.atomic():
        Turn.objects.get_or_create(
            fact_id=fact_id,
            defaults={
                "call": get_call(call_id),
                "number": number,
                "speaker": speaker,
                "said": clean(said),
                "heard": clean(heard),
                "interrupted": interrupted,
                "fallback": fallback,
                "started_at": moment(started_at),
                "ended_at": None if ended_at is None else moment(ended_at),
                "start_position": start_position,
                "end_position": end_position,
                "stages": dict(stages),
                "response_latency": stages.get("response_latency"),
                "speculation_hits": speculation_hits,
                "speculation_waste": speculation_waste,
            },
        )


def record_event(
    *, fact_id: str, call_id: UUID | str, kind: str, at: datetime | str, data: Mapping[str, Any] | None = None
) -> None:
    """Anything else worth knowing of a call: a key, a fallback, an error."""
    with transaction.atomic():
        write_event(fact_id, get_call(call_id).pk, kind[:64], moment(at), data or {})


def record_stream_ended(
    *, fact_id: str, call_id: UUID | str, reason: str, at: datetime | str, stream: int | None = None
) -> None:
    """
    A stream has ended, for one of ``END_REASONS``.

    ``stream`` is the claim's: the reason of a stream that was lost does not touch the one that took over.
    """
    if reason not in END_REASONS:
        raise CallsError(f"{reason!r} is not a reason for the end of a stream")
    when = moment(at)
    with transaction.atomic():
        call = get_call(call_id)
        if not write_event(fact_id, call.pk, "stream-ended", when, {"reason": reason, "stream": stream})[1]:
            return
        current = Call.objects.filter(pk=call.pk, end_reason="")
        if stream is not None:
            current = current.filter(streams=stream)
        if current.update(end_reason=reason) and reason == "caller-hung-up":
            # The number may have no status callback: this is then the last that we hear of the call.
            _follow(call, Status.COMPLETED, when)


def _follow(call: Call, status: Status, at: datetime) -> None:
    """What the stream says of its call, and so of the attempt that it is."""
    attempt = attempts.find_attempt(sid=call.sid or "")
    if attempt is None or not attempts.move_attempt(attempt, attempts.Outcome(status, at=at)):
        move(call, status, at=at)


def record_opt_out(*, fact_id: str, call_id: UUID | str, how: str, words: str = "", at: datetime | str) -> None:
    """The person on the line wants no more calls: ``how`` is asked, key or agent."""
    when = moment(at)
    source = {"key": DoNotCall.Source.KEY, "agent": DoNotCall.Source.AGENT}.get(how, DoNotCall.Source.CALLER)
    with transaction.atomic():
        call = get_call(call_id)
        if not write_event(fact_id, call.pk, "opt-out", when, {"how": how, "words": clean(words)})[1]:
            return
        if E164.fullmatch(call.far_number):
            add_do_not_call(number=call.far_number, source=source, reason=words, call=call)
        else:
            logger.warning("Call %s: nobody can be put on the do-not-call list, the number is withheld", call)
        webhooks.announce(call, "call.opted-out", at=when)


def record_transfer(*, fact_id: str, call_id: UUID | str, target: str, at: datetime | str) -> None:
    """
    The stream is about to end so that the call is transferred: to one of its agent's targets by name.

    Without a name it goes where an operator has said. The name is the language model's: it is checked here.
    """
    when = moment(at)
    with transaction.atomic():
        call = get_call(call_id)
        number = call.agent.transfer_targets.get(target, "") if target else call.transfer_to
        kind = "transfer" if number else "transfer-refused"
        if write_event(fact_id, call.pk, kind, when, {"target": target, "to": number})[1]:
            Call.objects.filter(pk=call.pk).update(transfer_to=number)


def attach_recording(*, fact_id: str, call_id: UUID | str, path: Path | str) -> None:
    """
    Move a finished WAV from the spool into Django's storage, after any that earlier streams of the call left.

    Replay-safe at every step: the name in storage follows from ``fact_id``, and the spool file goes last.
    """
    spooled = Path(path)
    call = get_call(call_id)
    if not CallEvent.objects.filter(fact_id=fact_id).exists():
        if not spooled.is_file():
            raise CallsError(f"The recording {spooled} of call {call_id} is gone")
        field = Call._meta.get_field("recording")
        name = f"recordings/{call.created_at:%Y/%m/%d}/{call.pk}-{fact_id}.wav"
        previous = call.recording.name
        field.storage.delete(name)
        with _whole_recording(call, spooled) as sound:
            name = field.storage.save(name, sound)
        with transaction.atomic():
            write_event(fact_id, call.pk, "recording", timezone.now(), {"file": name})
            Call.objects.filter(pk=call.pk).update(recording=name)
            webhooks.announce(call, "call.recording-ready", at=timezone.now())
        if previous and previous != name:
            field.storage.delete(previous)
    spooled.unlink(missing_ok=True)


def _with_speaker(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn that an earlier version wrote to the spool says ``who`` in place of ``speaker``."""
    return {("speaker" if name == "who" else name): value for name, value in turn.items()}


FACTS: Mapping[str, Callable[..., None]] = {
    "stream-started": record_stream_started,
    "turn": lambda **fields: record_turn(**_with_speaker(fields)),
    "event": record_event,
    "stream-ended": record_stream_ended,
    "opt-out": record_opt_out,
    "transfer": record_transfer,
    "recording": attach_recording,
}
"""The facts of a live call by name. Their arguments may come back from JSON."""


def _whole_recording(call: Call, spooled: Path) -> File:
    """This stream's sound behind that of the call's earlier streams, if there is any that can still be read."""
    if call.recording:
        try:
            with call.recording.open("rb") as earlier:
                return File(recordings.join(earlier, spooled))
        except (FileNotFoundError, EOFError, wave.Error) as error:
            logger.warning("Call %s: the recording before the reconnect is lost: %s", call, error)
    return File(spooled.open("rb"))
