"""The callbacks of a leg that injected faults reorder or forge."""

from media.phone.injections import CallbackFault, Injections
from tests.media.phone.doubles import HOLD, THERE, Person, call_in, call_request, open_network, reported_statuses


async def test_progress_callbacks_can_be_sent_with_completed_first(app, gateway):
    app.answers = {"/twilio/voice/": "<Hangup/>"}
    async with open_network(app, gateway, injections=Injections(reorder=True), seed=1) as network:
        network.on_dial(THERE, Person)
        await network.place(call_request()).wait()
    statuses = reported_statuses(app)
    assert statuses[0] == ("3", "completed")
    assert sorted(statuses) == [
        ("0", "initiated"),
        ("1", "ringing"),
        ("2", "in-progress"),
        ("3", "completed"),
    ]


async def test_a_forged_copy_follows_the_genuine_request_and_a_callback_can_be_replayed(app, gateway):
    app.answers = {"/twilio/voice/": HOLD}
    forged = CallbackFault(kinds=("voice",), extra=True, signature="wrong")
    async with open_network(app, gateway, injections=Injections(callbacks=[forged])) as network:
        await call_in(network, Person())
        await app.wait_for_request("/twilio/voice/", times=2)
        assert [request.is_signed for request in app.requests_to("/twilio/voice/")] == [True, False]
        again = await network.sender.replay(network.sender.deliveries[0])
    assert again.status == 200
    assert app.requests_to("/twilio/voice/")[2].headers == app.requests_to("/twilio/voice/")[0].headers
