"""
Fills the database of the flood benchmark and prints what its clients need as JSON: ``… flood_data CALLS MINUTES``.

There are CALLS calls with a transcript, one of them with a recording of MINUTES, one that is live, and an API key.
"""

from __future__ import annotations

import json
import sys
import wave
from datetime import timedelta
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.core import signing  # noqa: E402
from django.utils import timezone  # noqa: E402

from calls.api.serializers.calls import RECORDING_SALT  # noqa: E402
from calls.models import Agent, ApiKey, Call, Turn  # noqa: E402
from calls.services.keys import make_key  # noqa: E402


def main() -> None:
    get_user_model().objects.create_superuser("operator", password="only-for-this-benchmark")
    now, agent = timezone.now(), Agent.objects.get()
    calls = Call.objects.bulk_create(
        Call(
            direction="inbound",
            status="completed",
            agent=agent,
            from_number=f"+1202555{number % 10000:04}",
            to_number="+15005550006",
            answered_at=now - timedelta(minutes=number),
            ended_at=now - timedelta(minutes=number) + timedelta(seconds=60),
        )
        for number in range(int(sys.argv[1]))
    )
    Turn.objects.bulk_create(
        Turn(
            call=call,
            number=number,
            speaker=("agent", "caller")[number % 2],
            said="What time?",
            heard="What time?",
            started_at=now,
            fact_id=f"{call.pk}-{number}",
        )
        for call in calls
        for number in range(6)
    )
    live = Call.objects.create(direction="inbound", status="in-progress", agent=agent, from_number="+12025550100")
    recorded = calls[0]
    name = "recordings/long.wav"
    path = Path(settings.MEDIA_ROOT) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        for _ in range(int(sys.argv[2])):
            sound.writeframesraw(bytes(60 * 8000 * 4))
    Call.objects.filter(pk=recorded.pk).update(recording=name)
    key = make_key(name="reader", scopes=[ApiKey.Scope.READ], rate="100000000/minute")
    link = signing.dumps(str(recorded.pk), salt=RECORDING_SALT)
    print(json.dumps({"key": key[1], "recording": link, "call": str(recorded.pk), "live": str(live.pk)}))


if __name__ == "__main__":
    main()
