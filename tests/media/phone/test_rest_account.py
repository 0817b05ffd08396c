"""What the simulated account has beside its calls, read and changed by Twilio's own SDK."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from media.phone.network import ACCOUNT_SID, AUTH_TOKEN, PhoneNetwork
from media.phone.rest_account import DialingPermission, SimulatedNumber
from tests.media.phone.doubles import DEADLINE, HERE, THERE


@pytest.fixture
async def network() -> AsyncIterator[PhoneNetwork]:
    async with PhoneNetwork(app_url="http://127.0.0.1:9") as network:
        network.account.numbers.append(SimulatedNumber(HERE))
        yield network


@pytest.fixture
async def ask(network):
    """Run a function with a client of the SDK, in a thread."""
    http = TwilioHttpClient(timeout=DEADLINE)

    async def ask(work, *, token: str = AUTH_TOKEN):
        client = Client(ACCOUNT_SID, token, http_client=http)
        client.api.base_url = client.voice.base_url = network.rest_url
        return await asyncio.to_thread(work, client)

    yield ask
    http.session.close()


async def test_the_account_says_its_state_and_its_primary_token(ask):
    account = await ask(lambda client: client.api.v2010.accounts(ACCOUNT_SID).fetch())
    assert (account.sid, account.status, account.type, account.auth_token) == (
        ACCOUNT_SID, "active", "Full", AUTH_TOKEN,
    )  # fmt: skip
    assert account.date_created is not None


async def test_the_secondary_token_is_accepted_and_any_other_is_not(ask, network):
    network.account.secondary_token = "the-next-token"
    assert (await ask(lambda client: client.balance.fetch(), token="the-next-token")).balance == "19.85"
    with pytest.raises(TwilioRestException) as refused:
        await ask(lambda client: client.balance.fetch(), token="an-old-token")
    assert (refused.value.status, refused.value.code) == (401, 20003)


async def test_a_number_has_webhooks_that_can_be_set(ask):
    (number,) = await ask(lambda client: client.incoming_phone_numbers.list())
    assert (number.phone_number, number.capabilities["voice"], number.voice_method) == (HERE, True, "POST")
    changed = await ask(
        lambda client: client.incoming_phone_numbers(number.sid).update(
            voice_url="https://phone.example.com/twilio/voice/", status_callback="https://phone.example.com/s/"
        )
    )
    assert changed.voice_url == "https://phone.example.com/twilio/voice/"
    assert (await ask(lambda client: client.incoming_phone_numbers.list()))[0].status_callback.endswith("/s/")


@pytest.mark.parametrize(
    ("sid", "change", "code"),
    [
        ("PN" + "0" * 32, {}, 20404),
        ("", {"voice_url": "not a url"}, 21205),
        ("", {"sms_url": "https://a.example"}, 20001),
    ],
)
async def test_an_update_is_refused_as_twilio_refuses_it(sid, change, code, ask, network):
    sid = sid or network.account.numbers[0].sid
    with pytest.raises(TwilioRestException) as refused:
        await ask(lambda client: client.incoming_phone_numbers(sid).update(**change))
    assert refused.value.code == code


async def test_verified_caller_ids_are_listed(ask, network):
    network.account.caller_ids.append(THERE)
    assert [one.phone_number for one in await ask(lambda client: client.outgoing_caller_ids.list())] == [THERE]


async def test_dialling_permissions_are_those_of_the_newer_api(ask, network):
    network.account.permissions["LV"] = DialingPermission(low_risk=False, high_risk_tollfraud=True)
    countries = await ask(
        lambda client: client.voice.v1.dialing_permissions.countries.list(high_risk_tollfraud_numbers_enabled=True)
    )
    assert [(one.iso_code, one.name, one.low_risk_numbers_enabled) for one in countries] == [("LV", "Latvia", False)]
    one = await ask(lambda client: client.voice.v1.dialing_permissions.countries("US").fetch())
    assert (one.low_risk_numbers_enabled, one.high_risk_special_numbers_enabled) == (True, False)
    with pytest.raises(TwilioRestException) as refused:
        await ask(lambda client: client.voice.v1.dialing_permissions.countries("XX").fetch())
    assert refused.value.code == 20404
