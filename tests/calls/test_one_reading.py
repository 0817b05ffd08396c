"""Every entrance for a telephone number reads it alike: what is listed, forgotten, found and dialled is one number."""

import io
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import quote

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from calls.admin.actions import applicable_actions
from calls.area_codes import parse_new_codes
from calls.models import Agent, Call, DoNotCall
from calls.numbers import caller_number, number_in
from calls.services import CallsError, facts, placing, record_fact
from calls.services.keys import make_key
from calls.services.obstacles import outside_hours
from calls.services.orders import transfer
from calls.services.placing import NewCall, find_waiting, place_call
from calls.services.privacy import forget
from tests.rows import each_row

pytestmark = pytest.mark.django_db

LONDON = "+442079460018"
SPELLINGS = [
    "+44 (0)20 7946 0018",
    "+44 020 7946 0018",
    "+4402079460018",
    "\u202a+44\u00a020\u00a07946\u00a00018\u202c",
    "\ufeff+44\u201120\u20117946\u20110018",
    "\uff0b44/20/7946 0018",
    "tel:+44-20-7946-0018",
]


@pytest.fixture(autouse=True)
def _rules(settings):
    settings.DIAL_COUNTRIES = ("US", "GB")
    settings.TWILIO_PHONE_NUMBER = "+1 (500) 555-0006"
    cache.clear()


@pytest.fixture
def api() -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_key(name='tests', scopes=['read', 'dial', 'control'])[1]}")
    return client


def make_call(**fields) -> Call:
    return Call.objects.create(agent=Agent.objects.get(name="front-desk"), status="completed", **fields)


def run_command(*arguments: object) -> str:
    out = io.StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_number_on_the_list_is_not_dialled_in_any_spelling(api, text):
    assert api.post("/api/do-not-call/", {"number": text}, format="json").json()["number"] == LONDON
    for other in SPELLINGS:
        answer = api.post("/api/calls/", {"to": other, "agent": "front-desk"}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (422, "do-not-call")
        address = f"/api/do-not-call/{quote(other, safe='')}/"
        if "/" not in other:
            assert api.get(address).json()["number"] == LONDON
    assert DoNotCall.objects.count() == 1


@each_row(
    ("text", "number"),
    [
        ("+1 1 202 555 0140", "+12025550140"),
        ("+49 (0)30 901820", "+4930901820"),
        ("+33 (0)1 42 68 53 00", "+33142685300"),
        ("+61 (0)2 9374 4000", "+61293744000"),
        ("+353 (0)1 677 0095", "+35316770095"),
    ],
)
def test_a_trunk_prefix_is_no_part_of_a_number_wherever_it_is_read(api, settings, text, number):
    settings.DIAL_COUNTRIES = ("*",)
    DoNotCall.objects.all().delete()
    call = make_call(direction="inbound", from_number=number)
    assert api.post("/api/do-not-call/", {"number": text}, format="json").json()["number"] == number
    answer = api.post("/api/calls/", {"to": text, "agent": "front-desk"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "do-not-call")
    assert forget(number=text, and_do_not_call=True).calls == 1
    assert not DoNotCall.objects.exists()
    call.refresh_from_db()
    assert call.from_number == "forgotten"
    assert api.post("/api/calls/", {"to": text, "agent": "front-desk"}, format="json").json()["to"] == number


def test_a_file_of_numbers_is_read_in_every_spelling(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("\n".join(SPELLINGS), encoding="utf-8")
    printed = run_command("donotcall", "import", file)
    assert printed.startswith("1 numbers are new")
    assert "6 lines repeat a number" in printed
    assert DoNotCall.objects.get().number == LONDON
    assert LONDON in run_command("donotcall", "remove", SPELLINGS[0])
    with pytest.raises(CommandError) as raised:
        run_command("donotcall", "remove", SPELLINGS[0])
    assert raised.value.returncode == 3


@each_row(
    "numbers",
    [
        ["+1 202 555 0140", "+12025550140", "+1 (202) 555-0140"],
        SPELLINGS[:3],
        ["+54 11 4567 8901", "+54 9 11 4567 8901", "+5491145678901"],
        ["+52 1 55 1234 5678", "+52 55 1234 5678", "+52 044 55 1234 5678"],
    ],
)
def test_a_person_is_in_one_list_once_in_every_form_of_the_number(api, settings, tmp_path, numbers):
    settings.DIAL_COUNTRIES = ("*",)
    Call.objects.all().delete()
    calls = [{"to": number, "agent": "front-desk"} for number in numbers]
    answer = api.post("/api/calls/batch/", {"calls": calls}, format="json").json()
    found = [(error["row"], error["code"]) for error in answer["errors"]]
    assert found == [(1, "duplicate-person"), (2, "duplicate-person")]
    file = tmp_path / "calls.csv"
    file.write_text("\n".join(["to", *numbers]))
    for options in ([], ["--dry-run"]):
        with pytest.raises(CommandError) as raised:
            run_command("schedule", file, *options)
        told = [line.partition("calls.csv:")[2].partition(".")[0] for line in str(raised.value).splitlines()[:2]]
        assert told == [f"{line}: This is the same person as on line 2" for line in (3, 4)]
    assert not Call.objects.exists()
    api.post("/api/calls/", calls[0], format="json")
    assert find_waiting([NewCall(**call) for call in calls]) == [0, 1, 2]


def test_a_list_of_calls_is_read_in_every_spelling(tmp_path):
    file = tmp_path / "calls.csv"
    file.write_text("to,from\n" + "".join(f"{text},{text}\n" for text in SPELLINGS), encoding="utf-8")
    run_command("schedule", file, "--allow-duplicates")
    calls = Call.objects.all()
    assert [(call.to_number, call.from_number) for call in calls] == [(LONDON, LONDON)] * len(SPELLINGS)


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_caller_is_forgotten_in_every_spelling(text):
    call = make_call(direction="inbound", from_number=LONDON)
    DoNotCall.objects.create(number=LONDON, reason="asked for it")
    assert "the data of 1 calls" in run_command("forget", text, "--yes")
    call.refresh_from_db()
    assert (call.from_number, DoNotCall.objects.get().reason) == ("forgotten", "")


@each_row(
    ("listed", "dialled"),
    [
        ("+52 1 55 1234 5678", "+52 55 1234 5678"),
        ("+54 11 4567 8901", "+54 9 11 4567 8901"),
        ("+54 9 11 4567 8901", "+54 11 4567 8901"),
        ("+55 11 8123 4567", "+55 11 98123 4567"),
        ("+229 90 11 23 45", "+229 01 90 11 23 45"),
        ("+378 0549 886377", "+39 0549 886377"),
    ],
)
def test_a_person_on_the_list_is_found_in_every_form_of_the_number(api, settings, listed, dialled):
    settings.DIAL_COUNTRIES = ("*",)
    DoNotCall.objects.all().delete()
    api.post("/api/do-not-call/", {"number": listed}, format="json")
    for batch in (False, True):
        body = {"to": dialled, "agent": "front-desk"}
        most = 0 if batch else placing.READ_LIST
        with patch.object(placing, "READ_LIST", most), pytest.raises(CallsError) as refused:
            placing._Checker([NewCall(**body)]).check(NewCall(**body))
        assert refused.value.code == "do-not-call"
    address = f"/api/do-not-call/{quote(dialled)}/"
    assert api.get(address).json()["number"] == DoNotCall.objects.get().number
    assert api.delete(address).status_code == 204


@each_row(
    ("caller", "forgotten"),
    [
        (f"sip:{LONDON}@trunk.example", LONDON),
        (f"sips:{LONDON};npdi@trunk.example", LONDON),
        (f"sip:{LONDON}:password@trunk.example", LONDON),
        (f"sip:{LONDON}@trunk.example", f"sip:{LONDON}@trunk.example"),
        ("whatsapp:+551181234567", "+5511981234567"),
        ("+551181234567", "whatsapp:+5511981234567"),
        (f"whatsapp:{LONDON}", f"sip:{LONDON}@trunk.example"),
        (LONDON, f"sip:{LONDON}@another.example"),
        ("+541145678901", "+54 9 11 4567 8901"),
    ],
)
def test_a_person_who_called_in_another_form_of_the_number_is_forgotten(caller, forgotten):
    call, other = make_call(direction="inbound", from_number=caller), make_call(from_number=f"sip:{LONDON}0@x")
    DoNotCall.objects.create(number=caller_number(caller), reason="asked for it")
    assert forget(number=forgotten, and_do_not_call=True).removed_entries == 1
    call.refresh_from_db()
    other.refresh_from_db()
    assert (call.from_number, other.from_number) == ("forgotten", f"sip:{LONDON}0@x")


def test_forgetting_a_number_of_which_nothing_is_known_has_a_status_of_its_own():
    with pytest.raises(CommandError, match=rf"no call with \{LONDON}") as raised:
        run_command("forget", SPELLINGS[0], "--yes")
    assert raised.value.returncode == 3


def test_removing_the_entry_of_a_number_is_something():
    DoNotCall.objects.create(number=LONDON)
    printed = run_command("forget", SPELLINGS[0], "--yes", "--and-do-not-call")
    assert "Removed 1 entry of the do-not-call list" in printed


@pytest.mark.parametrize(
    ("sent", "forgotten"),
    [
        ("sip:Anna@Example.com;transport=tls", "sip:Anna@example.com"),
        ('"Anna" <sip:Anna@example.com>', "SIP:Anna@EXAMPLE.COM"),
        ("client:anna", " CLIENT:anna"),
        ("whatsapp:+44 20 7946 0018", "whatsapp:+442079460018"),
        ("whatsapp:+442079460018", "+44 (0)20 7946 0018"),
    ],
)
def test_a_caller_without_a_telephone_number_can_be_forgotten(twilio, sent, forgotten):
    twilio.rings(From=sent)
    Call.objects.update(status="completed")
    assert forget(number=forgotten).calls == 1
    assert Call.objects.get().from_number == "forgotten"


@pytest.mark.parametrize("text", ["12345", "2125550123", "Anna", "messenger:4711"])
def test_whoever_called_from_a_text_that_is_no_number_can_be_forgotten_by_it(twilio, text):
    twilio.rings(From=text)
    Call.objects.update(status="completed")
    assert forget(number=f" {text} ").calls == 1
    assert Call.objects.get().from_number == "forgotten"
    if text != "messenger:4711":
        with pytest.raises(CallsError, match=r"country code|cannot be part"):
            forget(number=text)


@pytest.mark.parametrize("text", ["", " ", "forgotten", "sip:\udcff@x", "client:a\0"])
def test_nobody_is_forgotten_by_what_is_left_of_others(text):
    for number in ("", "forgotten"):
        make_call(direction="inbound", from_number=number)
    with pytest.raises(CallsError):
        forget(number=text)


@pytest.mark.parametrize("text", ["anonymous", "RESTRICTED", "+266696687"])
def test_those_who_withhold_their_number_are_many_people(twilio, text):
    twilio.rings(From=text)
    assert twilio.call.from_number == "anonymous"
    with pytest.raises(CallsError, match="Many people"):
        forget(number=text)


@pytest.mark.parametrize(
    ("address", "listed"),
    [
        ("whatsapp:+442079460018", [LONDON]),
        ("sip:anna@x", []),
        ("+266696687", []),
        (f"sip:{LONDON}@trunk.example", [LONDON]),
    ],
)
def test_a_caller_who_opts_out_is_listed_by_the_number(twilio, address, listed):
    twilio.rings(From=address)
    record_fact(facts.OptedOut(fact_id="o", call_id=twilio.call.pk, how="key", at=twilio.call.created_at))
    assert [entry.number for entry in DoNotCall.objects.all()] == listed
    Call.objects.update(status="completed")
    assert applicable_actions(twilio.call) == (["again"] if number_in(address) else [])


@pytest.mark.parametrize("text", ["sip:anna@example.com", "client:anna", "anonymous"])
def test_only_numbers_are_on_the_list(api, text):
    answer = api.post("/api/do-not-call/", {"number": text}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-number")
    assert "is no telephone number" in answer.json()["detail"]


@pytest.mark.parametrize("text", SPELLINGS)
def test_calls_are_found_in_every_spelling(api, admin_client, text):
    call = make_call(direction="outbound", to_number=LONDON, from_number="+15005550006")
    make_call(direction="outbound", to_number="+442079460019", from_number="+15005550006")
    for name in ("to", "search"):
        # Clients that do not write + as %2B send a space.
        for value in {quote(text), quote(text).replace("%2B", "+", 1) if text.startswith("+") else quote(text)}:
            found = api.get(f"/api/calls/?{name}={value}").json()["results"]
            assert [one["id"] for one in found] == [str(call.pk)]
    assert "1 call" in admin_client.get(f"/admin/calls/call/?q={quote(text)}").content.decode()


def test_calls_are_found_in_every_form_of_the_number(api):
    made = {str(make_call(direction="outbound", to_number=to).pk) for to in ("+541145678901", "+5491145678901")}
    make_call(direction="outbound", to_number="+541145678902")
    for to in ("+54 11 4567 8901", "+54 9 11 4567 8901"):
        assert {one["id"] for one in api.get("/api/calls/", {"to": to}).json()["results"]} == made


def test_the_beginning_of_a_number_is_searched_for_in_its_spelling(api, admin_client):
    make_call(direction="outbound", to_number=LONDON, from_number="+15005550006")
    make_call(direction="outbound", to_number="+14155550100", from_number="+15005550006")
    assert len(api.get(f"/api/calls/?search={quote('+44 (0)20')}").json()["results"]) == 1
    assert "1 call" in admin_client.get(f"/admin/calls/call/?q={quote('+44 (0)20')}").content.decode()


def test_an_agent_is_called_at_its_number_however_an_operator_wrote_it(admin_client, twilio):
    agent = Agent.objects.get(name="front-desk")
    form = {
        **{name: "" if value is None else value for name, value in admin_form(agent).items()},
        "phone_number": "\u202a+44\u00a0(0)20 7946 0018\u202c",
        "transfer_targets": '{"sales": "+44 (0)20 7946 0019"}',
    }
    assert admin_client.post(f"/admin/calls/agent/{agent.pk}/change/", form).status_code == 302
    agent.refresh_from_db()
    assert (agent.phone_number, agent.transfer_targets) == (LONDON, {"sales": "+442079460019"})
    other = Agent.objects.create(name="sales")
    twilio.rings(To=LONDON)
    assert twilio.call.agent == agent != other


def admin_form(agent):
    return {
        "name": agent.name,
        "greeting": "Hi!",
        "language": "en",
        "max_duration": 120,
        "active": "on",
        "ring_timeout": 25,
        "machine_detection": "off",
        "max_attempts": 2,
        "retry_busy_after": 600,
        "retry_no_answer_after": 7200,
        "retry_failed_after": 1800,
    }


def test_the_caller_id_is_read_from_the_settings_and_from_the_request():
    assert place_call(NewCall(to=LONDON, agent="front-desk"))[0].from_number == "+15005550006"
    wanted = NewCall(to=LONDON, agent="front-desk", from_number="+1 1 415 555 0100")
    assert place_call(wanted)[0].from_number == "+14155550100"


def test_a_call_is_not_transferred_to_a_number_on_the_list_in_any_spelling(connected):
    DoNotCall.objects.create(number=LONDON)
    for text in SPELLINGS:
        with pytest.raises(CallsError, match="do-not-call"):
            transfer(call_id=connected.call_id, to=text)


def test_a_request_keeps_its_digest_so_that_its_key_means_the_same_call():
    first, second = (NewCall(to=text, agent="front-desk") for text in SPELLINGS[:2])
    call, new = place_call(first, idempotency_key="one")
    assert (place_call(first, idempotency_key="one"), new) == ((call, False), True)
    with pytest.raises(CallsError, match="different request"):
        place_call(second, idempotency_key="one")


def test_an_operator_allows_a_new_area_code(api, settings):
    settings.CALLING_HOURS = {"*": "08:00-21:00"}
    body = {"to": "+1 (460) 555-0123", "agent": "front-desk"}
    assert "NEW_AREA_CODES" in api.post("/api/calls/", body, format="json").json()["detail"]
    settings.NEW_AREA_CODES = parse_new_codes(["460=212"])
    assert api.post("/api/calls/", body, format="json").json()["to"] == "+14605550123"
    # Two o'clock in the morning in New York
    assert outside_hours(Call.objects.get(), datetime(2026, 7, 1, 6, 0, tzinfo=UTC)).why == "calling-hours"


def test_a_refusal_names_what_cannot_be_seen(api):
    answer = api.post("/api/calls/", {"to": "+44 20 7946 0018\u2800", "agent": "front-desk"}, format="json")
    assert answer.json()["code"] == "invalid-number"
    assert "U+2800 BRAILLE PATTERN BLANK" in answer.json()["detail"]


def test_whoever_lists_a_number_that_cannot_exist_is_warned(api, admin_client, tmp_path):
    number, warning = "+1212555012324", "+1212555012324 does not exist, so this entry stops no call."
    file = tmp_path / "list.csv"
    file.write_text(f"{number}\n{LONDON}\n")
    for arguments in (["add", number], ["import", file]):
        errors = io.StringIO()
        call_command("donotcall", *map(str, arguments), stdout=io.StringIO(), stderr=errors)
        assert errors.getvalue().startswith(warning)
        assert LONDON not in errors.getvalue()
        DoNotCall.objects.all().delete()
    form = {"number": number, "reason": ""}
    assert warning in admin_client.post("/admin/calls/donotcall/add/", form, follow=True).content.decode()
    answers = [api.post("/api/do-not-call/", {"number": one}, format="json").json() for one in (number, LONDON)]
    assert [answer["warning"][: len(warning)] for answer in answers] == [warning, ""]
