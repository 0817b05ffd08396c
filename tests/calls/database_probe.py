"""
Questions to the database of an installation: ``python -m tests.calls.database_probe <question>``.

``place N`` places N calls that are due at once. ``wait`` waits until all calls have ended, and counts how they ended.
``claims`` claims the due calls as the only dispatcher, and tells the milliseconds and queries of each claim. ``key``
creates a key to the REST API. The answer is printed as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django

django.setup()

from django.db import Error, connection  # noqa: E402
from django.db.models import Count  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from calls.models import Agent, ApiKey, Call, DialAttempt, Lease  # noqa: E402
from calls.services import claiming  # noqa: E402
from calls.services.keys import make_key  # noqa: E402
from calls.services.placing import NewCall, place_calls  # noqa: E402
from calls.status import TERMINAL  # noqa: E402


def place(count: str) -> dict[str, int]:
    Agent.objects.update(ring_timeout=5, max_attempts=1)
    due = timezone.now()
    wanted = [NewCall(to=f"+1202555{n:04}", agent="front-desk", scheduled_for=due) for n in range(int(count))]
    return {"placed": len(place_calls(wanted)[0])}


def wait() -> dict[str, Any]:
    while Call.objects.exclude(status__in=TERMINAL).exists():
        time.sleep(0.2)
    return {
        "calls": Call.objects.count(),
        "by_status": dict(Call.objects.values_list("status").annotate(Count("pk"))),
        "open_attempts": DialAttempt.objects.filter(ended_at=None).count(),
        "attempts_with_sid": DialAttempt.objects.exclude(sid=None).count(),
        "attempts_not_sent": DialAttempt.objects.filter(sid=None, error_code="not-sent").count(),
        "attempts": DialAttempt.objects.count(),
        "leases": Lease.objects.count(),
    }


def claims() -> dict[str, Any]:
    with CaptureQueriesContext(connection) as asked:
        count = len(claiming.claim_due(wanted=50).attempts)
    queries, costs = len(asked) / count, []
    while Call.objects.filter(due_at__isnull=False).exists():
        # End the attempts at once, so that the next calls can be claimed.
        DialAttempt.objects.filter(ended_at=None).update(ended_at=timezone.now())
        Lease.objects.all().delete()
        started = time.perf_counter()
        if count := len(claiming.claim_due(wanted=50).attempts):
            costs.append((time.perf_counter() - started) * 1000 / count)
    return {"ms": costs, "queries": queries}


def key() -> str:
    return make_key(name="tests", scopes=ApiKey.Scope.values)[1]


QUESTIONS: dict[str, Callable[..., Any]] = {"place": place, "wait": wait, "claims": claims, "key": key}


def main() -> None:
    question, *arguments = sys.argv[1:]
    while True:
        try:
            answer = QUESTIONS[question](*arguments)
        except Error:  # the test that asks is restarting the database
            connection.close()
            time.sleep(0.2)
        else:
            print("answer:", json.dumps(answer), flush=True)
            return


if __name__ == "__main__":
    main()
