"""
Twilio's callbacks: check the signature, call one service, answer TwiML.

A callback may come late, twice, out of order, or for a call that is not in the database. A request is answered with an
empty 403 if its signature does not prove that it comes from our Twilio account, even if other parts are wrong as well.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import BadRequest, ObjectDoesNotExist, SuspiciousOperation
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, HttpResponseNotFound, JsonResponse
from django.http.request import UnreadablePostError
from django.urls import resolve
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from calls import echoes, metrics, signatures, twiml
from calls.call_context import about_call
from calls.seldom import Seldom
from calls.services import admission, draining, pauses, readiness, reports
from calls.services.admission import Continuation, Next, Verdict

logger = logging.getLogger(__name__)

Form = Mapping[str, str]
"""The fields of a signed callback by name. Of a field that is repeated it has the last value."""
ASK_AGAIN_AFTER = (0, 1, 1, 2, 2, 3)
"""
Seconds after which Twilio asks again for a call that came to a process which is draining.

An inbound call rings meanwhile. Proxies look at ``/readyz`` every few seconds.
"""
HOLD_WHILE_ENDING = 60.0
"""Seconds for which nobody is dialled after a call was refused because no process takes new ones."""
ASK_AGAIN_WHEN_ANSWERED = (0, 1, 1)
"""The same for a call that we placed or that goes on: a person listens, and hears nothing until then."""
_CHECKED = "twilio_form"
"""The attribute of a request that has what ``signed_form`` returned."""
_refusals = Seldom(logger)
Callback = Callable[[HttpRequest, Form], HttpResponse]


def _twiml(document: str) -> HttpResponse:
    return HttpResponse(document, content_type="text/xml; charset=utf-8")


def signed_form(request: HttpRequest) -> Form | None:
    """
    Return the form if Twilio has signed it for our account, else ``None``. Only the form and the URL are signed.

    The request keeps the answer, so that the next call costs nothing. A refusal is logged.
    """
    if not hasattr(request, _CHECKED):
        form = _check_signature(request)
        setattr(request, _CHECKED, form)
        if form is None:
            metrics.CALLBACKS_FORGED.inc()
            _refusals.warning("Refused a request to %s: no valid signature of our Twilio account", request.path)
    return cast(Form | None, getattr(request, _CHECKED))


def _check_signature(request: HttpRequest) -> Form | None:
    if request.content_type != "application/x-www-form-urlencoded":
        return None
    try:
        form = request.POST
    except (BadRequest, SuspiciousOperation, UnreadablePostError):
        return None
    signature = request.headers.get(signatures.HEADER, "")
    if not signatures.valid_form_signature(path=request.get_full_path(), form=form, signature=signature):
        return None
    call_sid = form.get("CallSid", "")
    if form.get("AccountSid") != settings.TWILIO_ACCOUNT_SID or not call_sid.isalnum() or len(call_sid) > 64:
        return None
    return {name: form.get(name, "") for name in form}


def callback(
    without_database: Callable[[], HttpResponse],
) -> Callable[[Callback], Callable[[HttpRequest], HttpResponse]]:
    """
    Decorate a view that answers a callback: it is called only with a form that Twilio has signed.

    ``without_database`` makes the answer while the database cannot be reached, and if the view fails: the caller hears
    a sentence, where Twilio would report an error of the application.
    """

    def decorate(view: Callback) -> Callable[[HttpRequest], HttpResponse]:
        seconds = metrics.CALLBACK_SECONDS.labels(view.__name__)
        failed = metrics.CALLBACKS_FAILED.labels(view.__name__)

        @csrf_exempt
        @require_POST
        @wraps(view)
        def guarded(request: HttpRequest) -> HttpResponse:
            form = signed_form(request)
            if form is None:
                return HttpResponseForbidden()
            with about_call():
                begun = perf_counter()
                try:
                    return _twice(view, request, form)
                except (OperationalError, InterfaceError):
                    logger.exception(
                        "The database is unavailable: could not handle %s for call %s", request.path, form["CallSid"]
                    )
                except Exception:
                    logger.exception("Could not handle %s for call %s", request.path, form["CallSid"])
                finally:
                    seconds.observe(perf_counter() - begun)
            failed.inc()
            return without_database()

        guarded.without_database = without_database  # type: ignore[attr-defined]
        return guarded

    return decorate


def _twice(view: Callback, request: HttpRequest, form: Form) -> HttpResponse:
    """Call the view, and again if the call was deleted meanwhile or another report was faster: now it sees that."""
    try:
        return view(request, form)
    except (ObjectDoesNotExist, IntegrityError):
        return view(request, form)


def without_room(request: HttpRequest) -> HttpResponse:
    """Return the answer to a callback that found no thread in time: that of a database which cannot be reached."""
    view: Any = resolve(request.path_info).func
    answer: HttpResponse = view.without_database()
    return answer


@callback(without_database=lambda: _twiml(twiml.hang_up(twiml.TRY_AGAIN)))
def voice(request: HttpRequest, form: Form) -> HttpResponse:
    """A call has begun, or was answered: connect it to an agent, or tell the caller why that is impossible."""
    elsewhere = _elsewhere(request, ASK_AGAIN_WHEN_ANSWERED if _attempt_id(request) else ASK_AGAIN_AFTER)
    goes_elsewhere = draining.is_over() or (draining.is_draining() and not admission.has_stream(sid=form["CallSid"]))
    if goes_elsewhere and elsewhere is not None:
        return elsewhere
    admitted = admission.receive_call(
        sid=form["CallSid"],
        from_number=form.get("From", ""),
        to_number=form.get("To", ""),
        account_sid=form["AccountSid"],
        params=form,
        attempt_id=_attempt_id(request),
    )
    match admitted.verdict:
        case Verdict.CONNECT:
            return _twiml(_connect(admitted.token, admitted.stream))
        case Verdict.BUSY:
            return _twiml(twiml.hang_up(twiml.LATER if _attempt_id(request) else twiml.BUSY))
        case Verdict.UNAVAILABLE:
            if draining.is_draining():
                if elsewhere is not None:  # it has begun to drain meanwhile
                    return elsewhere
                why = "the web process is ending, and no other one takes calls"
                pauses.hold_dialling(process="web", why=why, seconds=HOLD_WHILE_ENDING)
            return _twiml(twiml.hang_up(twiml.LATER if _attempt_id(request) else twiml.TRY_AGAIN))
        case Verdict.UNATTENDED:
            return _twiml(twiml.hang_up(twiml.TRY_AGAIN))
        case Verdict.OVER:
            return _twiml(twiml.hang_up())


@callback(without_database=lambda: _twiml(twiml.hang_up(twiml.LOST)))
def after_stream(request: HttpRequest, form: Form) -> HttpResponse:
    """The media stream has ended and the caller is still on the line: continue the call, or end it politely."""
    if draining.is_over() and (elsewhere := _elsewhere(request, ASK_AGAIN_WHEN_ANSWERED)) is not None:
        return elsewhere
    return _continue(admission.after_stream(sid=form["CallSid"], stream=_stream_number(request)))


@callback(without_database=lambda: _twiml(twiml.hang_up(twiml.LOST)))
def after_transfer(request: HttpRequest, form: Form) -> HttpResponse:
    """The person to whom the call was transferred has hung up, or was not reached."""
    status = form.get("DialCallStatus", "")
    return _continue(admission.after_transfer(sid=form["CallSid"], stream=_stream_number(request), dial_status=status))


def _continue(continuation: Continuation) -> HttpResponse:
    match continuation.next:
        case Next.RECONNECT | Next.TRANSFER_FAILED:
            # The agent says what has happened, in its own voice. A sentence of Twilio's before that takes 3 s.
            return _twiml(_connect(continuation.token, continuation.stream))
        case Next.TRANSFER:
            document = twiml.transfer(
                base_url=settings.PUBLIC_BASE_URL,
                number=continuation.number,
                caller_id=continuation.caller_id,
                stream=continuation.stream,
                time_limit=settings.TRANSFER_TIME_LIMIT,
            )
            return _twiml(document)
        case Next.APOLOGISE:
            return _twiml(twiml.hang_up(twiml.BROKEN))
        case Next.GIVE_UP:
            return _twiml(twiml.hang_up(twiml.LOST))
        case Next.HANG_UP:
            return _twiml(twiml.hang_up())


@callback(without_database=lambda: HttpResponse(status=503))
def status(request: HttpRequest, form: Form) -> HttpResponse:
    """The status of a call has changed."""
    reports.record_status(
        sid=form["CallSid"],
        status=form.get("CallStatus", ""),
        sequence=form.get("SequenceNumber", ""),
        timestamp=form.get("Timestamp", ""),
        duration=form.get("CallDuration", ""),
        attempt_id=_attempt_id(request),
        params=form,
    )
    return HttpResponse(status=204)


@callback(without_database=lambda: HttpResponse(status=503))
def amd(request: HttpRequest, form: Form) -> HttpResponse:
    """Machine detection has found out whether a person or a machine answered."""
    reports.record_verdict(
        sid=form["CallSid"], answered_by=form.get("AnsweredBy", ""), attempt_id=_attempt_id(request), params=form
    )
    return HttpResponse(status=204)


@callback(without_database=lambda: HttpResponse(status=503))
def stream_status(request: HttpRequest, form: Form) -> HttpResponse:
    """Twilio has started or stopped a media stream, or reports an error of it."""
    reports.record_stream_event(
        sid=form["CallSid"],
        stream_sid=form.get("StreamSid", ""),
        event=form.get("StreamEvent", ""),
        error=form.get("StreamError", ""),
        timestamp=form.get("Timestamp", ""),
        params=form,
    )
    return HttpResponse(status=204)


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process runs. It does not query the database, whose failure no restart would mend."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """
    Answer 200 if this process can answer a call, else 503 with the list of what is missing.

    One that refuses new calls politely is ready: without it, callers would hear an error of the carrier instead.
    """
    problems = readiness.readiness_problems()
    details = readiness.readiness_details()
    if "database" not in problems and (paused := pauses.describe_in_short()):
        details["dialling_paused"] = paused
    answer = JsonResponse({"ready": not problems, "problems": problems, **details}, status=503 if problems else 200)
    answer._has_been_logged = True  # type: ignore[attr-defined]  # Django would log an error for each probe
    return answer


@require_safe
def echo(request: HttpRequest, token: str) -> HttpResponse:
    """Answer what arrived of a request that ``manage.py doctor`` has sent through the public address."""
    if not echoes.valid_echo_token(token):
        return HttpResponseNotFound()
    return JsonResponse(
        {
            "path": request.get_full_path(),
            "signature": bool(request.headers.get(signatures.HEADER)),
            "public_base_url": settings.PUBLIC_BASE_URL,
            "account": echoes.account_marks(),
        }
    )


def _attempt_id(request: HttpRequest) -> str:
    """Return the id of the dial attempt from the callback's address, or an empty text for an inbound call."""
    # An id has 36 characters. The limit keeps a longer text out of queries and log lines.
    return request.GET.get("attempt", "")[:64]


def _elsewhere(request: HttpRequest, waits: Sequence[int]) -> HttpResponse | None:
    """
    Have Twilio ask again after so many seconds each time, for this process takes no new streams.

    The proxy sends the request to another one as soon as it has noticed ``/readyz``. Returns None after the last time:
    there is no other process.
    """
    asked = _number(request, "asked")
    if asked >= len(waits):
        return None
    given = {name: request.GET[name][:64] for name in ("attempt", "stream") if name in request.GET}
    url = f"{settings.PUBLIC_BASE_URL}{request.path}?{urlencode({**given, 'asked': asked + 1})}"
    return _twiml(twiml.ask_again(url=url, after=waits[asked]))


def _stream_number(request: HttpRequest) -> int:
    """Return the number of the stream from the callback's address. The first stream stands for an invalid number."""
    return _number(request, "stream", default=1)


def _number(request: HttpRequest, name: str, *, default: int = 0) -> int:
    number = request.GET.get(name, "")
    return int(number) if number.isdecimal() and len(number) < 4 else default


def _connect(token: str, stream: int) -> str:
    draining.note_token(token)
    return twiml.connect(
        base_url=settings.PUBLIC_BASE_URL,
        stream_url=signatures.stream_url(f"/twilio/media/{token}"),
        stream=stream,
    )
