"""What the doctor says of the account at Twilio, by Twilio's own SDK on the simulated network, and what it sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command

from calls.carrier_account import _voice_url
from calls.models import Agent
from clientcaller.doctor import account
from clientcaller.management.commands import doctor
from media.phone.injections import RestFault
from media.phone.network import PhoneNetwork
from media.phone.rest_account import DialingPermission, SimulatedNumber
from tests.doctor.conftest import ACCOUNT_SID, AUTH_TOKEN, NUMBER
from tests.doctor.faults import Fault, Faults, World, assert_found, lines, look
from tests.doctor.front import Background
from tests.real_services import reserve_port

pytestmark = pytest.mark.django_db(transaction=True)
FAULTS = Faults()
BASE = "https://phone.example.com"
GOOD = {"voice_url": f"{BASE}/twilio/voice/", "status_callback": f"{BASE}/twilio/status/"}


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.close()


@pytest.fixture
def network(world: World, background: Background) -> Iterator[PhoneNetwork]:
    """The account of a healthy deployment."""
    network = PhoneNetwork(app_url="http://127.0.0.1:9", account_sid=ACCOUNT_SID, auth_token=AUTH_TOKEN)
    background.call(network.__aenter__())
    network.account.numbers.append(SimulatedNumber(NUMBER, **GOOD))
    world.settings.TWILIO_API_BASE_URL = network.rest_url
    world.settings.DIAL_COUNTRIES = ("US", "CA")
    world.line = network
    yield network
    background.call(network.__aexit__(None, None, None))


def number(world: World, **changes: object) -> None:
    for name, value in changes.items():
        setattr(world.line.account.numbers[0], name, value)


@FAULTS.add("twilio", "red", "Twilio refuses TWILIO_AUTH_TOKEN", "console.twilio.com")
def _token_was_rotated(world: World) -> None:
    world.line.account.auth_token = "the-next-token"


@FAULTS.add("twilio", "red", "Twilio refuses token 2 of 2", "old and the new token")
def _second_token_is_wrong(world: World) -> None:
    world.settings.TWILIO_AUTH_TOKENS = [AUTH_TOKEN, "no-token"]


@FAULTS.add("twilio", "red", "Twilio signs with another token", "primary token")
def _only_the_secondary_token_is_set(world: World) -> None:
    world.line.account.auth_token, world.line.account.secondary_token = "the-primary-token", AUTH_TOKEN


@FAULTS.add("twilio", "red", "the account is suspended", "pay what is due")
def _account_is_suspended(world: World) -> None:
    world.line.account.status = "suspended"


@FAULTS.add("twilio", "yellow", "trial account", "Upgrade")
def _account_is_a_trial(world: World) -> None:
    world.line.account.type = "Trial"


@FAULTS.add("twilio", "red", "API cannot be used: Twilio cannot be reached", "port 443")
def _twilio_cannot_be_reached(world: World) -> None:
    world.settings.TWILIO_API_BASE_URL = f"http://127.0.0.1:{reserve_port()}"


@FAULTS.add("twilio", "red", "API cannot be used", "status.twilio.com")
def _twilio_is_broken(world: World) -> None:
    world.line.injections.rest.append(RestFault(method="GET", path=".json", status=503, body="<html>", times=None))


@FAULTS.add("twilio", "yellow", "a region without an edge", "api.dublin.ie1.twilio.com")
def _region_has_no_edge(world: World) -> None:
    world.monkeypatch.setattr(account, "urlsplit", lambda text: urlsplit("https://api.ie1.twilio.com"))


@FAULTS.add("balance", "yellow", "3.20 USD is left", "Add money")
def _balance_is_low(world: World) -> None:
    world.line.account.balance = "3.20"


@FAULTS.add("balance", "yellow", "0.00 USD", "Add money")
def _balance_is_used_up(world: World) -> None:
    world.line.account.balance = "0.00"


@FAULTS.add("numbers", "red", "…142 is neither a number nor a verified caller id", "21210")
def _number_is_not_ours(world: World) -> None:
    world.line.account.numbers.clear()


@FAULTS.add("numbers", "yellow", "…142 is a verified caller id", "Buy a number")
def _number_is_only_verified(world: World) -> None:
    world.line.account.numbers.clear()
    world.line.account.caller_ids.append(NUMBER)


@FAULTS.add("numbers", "red", "…142 carries no voice", "with voice")
def _number_is_for_messages(world: World) -> None:
    number(world, has_voice=False)


@FAULTS.add("numbers", "red", "…777 is neither", "the agent's number")
def _number_of_an_agent_is_wrong(world: World) -> None:
    Agent.objects.update(phone_number="+12025550777")


@FAULTS.add("webhooks", "red", "it goes to demo.twilio.com and not to phone.example.com", "--fix")
def _number_is_new(world: World) -> None:
    number(world, voice_url="https://demo.twilio.com/welcome/voice/")


@FAULTS.add("webhooks", "red", "no webhook is set", "--fix")
def _webhook_is_empty(world: World) -> None:
    number(world, voice_url="")


@FAULTS.add("webhooks", "red", "it goes to old-tunnel.example.net", "--fix")
def _webhook_names_an_old_tunnel(world: World) -> None:
    number(world, voice_url="https://old-tunnel.example.net/twilio/voice/")


@FAULTS.add("webhooks", "red", "begins with http:// and not with https://", "--fix")
def _webhook_is_http(world: World) -> None:
    number(world, voice_url=GOOD["voice_url"].replace("https", "http"))


@FAULTS.add("webhooks", "red", "its path is /voice and not /twilio/voice/", "--fix")
def _webhook_has_another_path(world: World) -> None:
    number(world, voice_url=f"{BASE}/voice")


@FAULTS.add("webhooks", "red", "requested by GET", "--fix")
def _webhook_is_get(world: World) -> None:
    number(world, voice_method="GET")


@FAULTS.add("webhooks", "red", "SIP trunk", "--fix")
def _number_is_on_a_trunk(world: World) -> None:
    number(world, trunk_sid="TK" + "1" * 32)


@FAULTS.add("webhooks", "yellow", "TwiML application", "--fix")
def _number_has_an_application(world: World) -> None:
    number(world, voice_application_sid="AP" + "1" * 32)


@FAULTS.add("webhooks", "yellow", "call status changes: not set", "--fix")
def _status_is_not_reported(world: World) -> None:
    number(world, status_callback="")


@FAULTS.add("webhooks", "yellow", "call status changes: it goes to other.example.com", "--fix")
def _status_is_reported_elsewhere(world: World) -> None:
    number(world, status_callback="https://other.example.com/twilio/status/")


@FAULTS.add("geo", "red", "the account may not call LV", "21215")
def _country_is_not_permitted(world: World) -> None:
    world.settings.DIAL_COUNTRIES = ("US", "LV")


@FAULTS.add("geo", "yellow", "numbers of toll fraud in US", "Turn off")
def _toll_fraud_is_permitted(world: World) -> None:
    world.line.account.permissions["US"] = DialingPermission(high_risk_tollfraud=True)


@FAULTS.add("geo", "yellow", "Twilio knows no country DE", "DIAL_COUNTRIES")
def _country_is_unknown(world: World) -> None:
    world.settings.DIAL_COUNTRIES = ("US", "DE")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_one_line_says_what_to_do(fault: Fault, world: World, network: PhoneNetwork):
    assert_found(fault, world)


@pytest.mark.parametrize("name", ["twilio", "balance", "numbers", "webhooks", "geo"])
def test_a_healthy_account_is_green_and_no_secret_is_shown(name: str, world: World, network: PhoneNetwork):
    number(world, voice_url=f"{BASE}/twilio/voice#rc=3")
    result = look(name)
    assert {one.level for one in result.findings} == {"green"}, lines(result)
    assert not [one for one in result.findings if AUTH_TOKEN in one.text or NUMBER in one.text]


def test_both_tokens_of_a_rotation_are_green(world: World, network: PhoneNetwork):
    network.account.secondary_token = "the-next-token"
    world.settings.TWILIO_AUTH_TOKENS = [AUTH_TOKEN, "the-next-token"]
    assert [one.level for one in look("twilio").findings] == ["green", "green"]


def test_without_an_account_the_simulated_network_is_yellow_and_its_absence_not_red(
    world: World, network: PhoneNetwork
):
    world.settings.SIMULATED = True
    assert [one.level for one in look("twilio").findings] == ["yellow", "green"]
    world.settings.TWILIO_API_BASE_URL = f"http://127.0.0.1:{reserve_port()}"
    assert [one.level for one in look("twilio").findings] == ["yellow"]
    (finding,) = look("numbers").findings
    assert finding.text == "not checked, because the simulated network does not run (manage.py network)"


def test_the_newer_api_for_voice_has_its_own_host():
    assert _voice_url("https://api.twilio.com") == "https://voice.twilio.com"
    assert _voice_url("https://api.dublin.ie1.twilio.com") == "https://voice.dublin.ie1.twilio.com"
    assert _voice_url("http://127.0.0.1:8010") == "http://127.0.0.1:8010"


# --- Setting webhooks --------------------------------------------------------------------------------------


@pytest.fixture
def wrong(world: World, network: PhoneNetwork) -> SimulatedNumber:
    """Our number on a trunk and with an old webhook, beside one that is not ours."""
    number(world, voice_url="https://old.example.net/voice", trunk_sid="TK" + "1" * 32, voice_method="GET")
    network.account.numbers.append(SimulatedNumber("+12025550999"))
    return network.account.numbers[0]


def test_fix_sets_the_webhooks_of_our_numbers_and_shows_what_they_were(wrong, network, capsys):
    call_command("doctor", "--fix", "--yes", "--only", "webhooks")
    assert (wrong.voice_url, wrong.voice_method, wrong.status_callback, wrong.trunk_sid) == (
        GOOD["voice_url"], "POST", GOOD["status_callback"], "",
    )  # fmt: skip
    assert network.account.numbers[1].voice_url.startswith("https://demo.twilio.com")
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("…142 before: a call comes in GET https://old.example.net/voice")
    assert out[2].startswith(f"…142 now:    a call comes in POST {BASE}/twilio/voice/")
    assert out[3].startswith("green   webhooks")


@pytest.mark.parametrize(("answer", "is_set"), [("y", True), ("", False), (EOFError(), False)])
def test_fix_asks_first(answer, is_set, wrong, monkeypatch, capsys):
    def ask(question: str) -> str:
        assert question == "Set the webhooks of …142 at Twilio? [y/N] "
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(doctor, "input", ask, raising=False)
    with nullcontext() if is_set else pytest.raises(SystemExit):
        call_command("doctor", "--fix", "--only", "webhooks")
    assert (wrong.voice_url == GOOD["voice_url"]) is is_set


def test_fix_changes_nothing_that_is_right(world, network, capsys):
    before = len(network.rest.requests)
    call_command("doctor", "--fix", "--only", "slots")
    assert "No webhook was changed." in capsys.readouterr().out
    assert [method for method, *_ in network.rest.requests[before:]] == ["GET"]


def test_fix_that_gets_no_answer_says_so(world, network):
    network.account.auth_token = "another"
    with pytest.raises(CommandError, match="The webhooks were not set: Twilio refused"):
        call_command("doctor", "--fix", "--yes", "--only", "webhooks")
