"""The echo that the doctor asks for."""

import time

import pytest
import time_machine

from calls import echoes
from tests.calls.twilio_double import BASE_URL


def test_an_echo_says_what_arrived(client):
    path = f"/twilio/echo/{echoes.make_echo_token()}/?stream=1"
    seen = client.get(path, headers={"X-Twilio-Signature": "any"}).json()
    assert (seen["path"], seen["signature"], seen["public_base_url"]) == (path, True, BASE_URL)
    assert seen["account"] == echoes.account_marks()


def test_an_echo_tells_no_secret(client, settings):
    body = client.get(f"/twilio/echo/{echoes.make_echo_token()}/").content.decode()
    secrets = [settings.SECRET_KEY, settings.TWILIO_ACCOUNT_SID, *settings.TWILIO_AUTH_TOKENS]
    assert not [secret for secret in secrets if secret in body]


@pytest.mark.parametrize("change", ["old", "other", "cut"])
def test_a_token_that_is_old_or_made_with_another_key_gets_no_echo(change, client, settings):
    now = time.time()
    token = echoes.make_echo_token()
    if change == "other":
        settings.SECRET_KEY = "another-key-of-another-deployment-with-many-letters"
    path = f"/twilio/echo/{token[:-1] if change == 'cut' else token}/"
    with time_machine.travel(now + (echoes.LIFE + 2 if change == "old" else 0), tick=False):
        assert client.get(path).status_code == 404


def test_accounts_with_other_tokens_have_other_marks(settings):
    before = echoes.account_marks()
    settings.TWILIO_AUTH_TOKENS = ["another"]
    assert echoes.account_marks() != before
