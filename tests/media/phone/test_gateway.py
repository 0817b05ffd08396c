"""What a gateway does with several streams of one call."""

from dataclasses import replace

from media.phone.gateway import Gateway
from media.phone.tape import Tape
from tests.media.phone.doubles import Person
from tests.media.phone.streams import AppStream, serve_application


async def test_a_call_may_have_another_stream_after_its_first_was_stopped():
    tape, seen = Tape(), []
    gateway = Gateway(Person(), tape=tape)

    async def app(app: AppStream) -> None:
        seen.append(app)
        await app.wait_for("media")
        gateway.stop()
        await app.receive_all()

    async with serve_application(app) as request:
        assert (await gateway.run(request)).reason == "call-updated"
        again = await gateway.run(replace(request, stream_sid="MZ" + "9" * 32))
    assert again.reason == "call-updated"
    assert [app.of("start")[0]["sequenceNumber"] for app in seen] == ["1", "1"]
    gateway.stop()  # does nothing between streams
