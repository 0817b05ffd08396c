"""``manage.py call`` and ``manage.py schedule``."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from calls.management.commands import call as call_module
from calls.models import Agent, Call, CallEvent, DialPause, Turn

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rules(settings):
    settings.DIAL_COUNTRIES = ("US",)
    settings.TWILIO_PHONE_NUMBER = "+15005550006"


@pytest.fixture
def csv(tmp_path):
    def write(text: str, name: str = "calls.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def schedule(path, *options, capsys=None) -> str:
    call_command("schedule", str(path), *options)
    return capsys.readouterr().out if capsys else ""


def test_a_call_is_placed_and_the_command_returns(capsys):
    Agent.objects.update(greeting="Hello {{ name }}.")
    call_command("call", "+1 202 555 0123", "--var", "name=Anna", "--no-wait")
    call = Call.objects.get()
    assert (call.to_number, call.variables, call.status) == ("+12025550123", {"name": "Anna"}, "queued")
    assert str(call.pk) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+1911"], "emergency"),
        (["+12025550123", "--agent", "nobody"], "unknown-agent"),
        (["+12025550123", "--var", "name"], "NAME=VALUE"),
    ],
)
def test_a_call_that_cannot_be_placed_is_an_error(arguments, message):
    with pytest.raises(CommandError, match=message):
        call_command("call", *arguments)
    assert not Call.objects.exists()


def test_the_command_prints_what_happens_until_the_call_has_ended(capsys, monkeypatch):
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def happens(_seconds: float) -> None:
        call = Call.objects.get()
        if call.status == "queued":
            CallEvent.objects.create(call=call, kind="status-ringing", at=at, fact_id="1")
            later = at + timedelta(seconds=1)
            heard = "Hello? [/red]\x1b[2J\u202e"
            Turn.objects.create(call=call, number=1, speaker="agent", heard=heard, started_at=later, fact_id="2")
            Call.objects.update(status="in-progress")
        else:
            Call.objects.update(status="completed", duration=12.0, end_reason="agent-ended")

    monkeypatch.setattr(call_module.time, "sleep", happens)
    call_command("call", "+12025550123")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines[1:3]] == ["ringing", r"agent Hello? [/red]\x1b[2J\u202e"]
    assert lines[-1] == "completed, 12 s (agent-ended)"


@pytest.mark.parametrize(
    ("scope", "subject", "why"),
    [
        ("", "", "No worker has taken the call yet"),
        ("caller-id", "+15005550006", "Dialling is paused for caller id +15005550006: No."),
        ("everything", "", "Dialling is paused for everything: No."),
        ("country", "FR", "No worker has taken the call yet"),
    ],
)
def test_the_command_says_why_a_call_is_not_dialled(capsys, monkeypatch, scope, subject, why):
    if scope:
        DialPause.objects.create(scope=scope, subject=subject, cause="account", reason="No.", try_at=timezone.now())

    def happens(_seconds: float) -> None:
        status = "completed" if Call.objects.get().due_at < timezone.now() - timedelta(minutes=1) else "queued"
        Call.objects.update(due_at=timezone.now() - timedelta(minutes=2), status=status)

    monkeypatch.setattr(call_module.time, "sleep", happens)
    call_command("call", "+12025550123")
    assert why in capsys.readouterr().out


def test_ctrl_c_stops_the_call(capsys, monkeypatch):
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(call_module.time, "sleep", interrupted)
    call_command("call", "+12025550123")
    assert Call.objects.get().status == "canceled"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--var", "name=\udcff"], "surrogate"),  # how Python reads an argument that is not UTF-8
        (["--var", "First Name=Anna"], "lower-case letters"),
        (["--var", f"name={'x' * 1001}"], "1001 characters"),
        (["--agent", "\udcff"], "no active agent"),
    ],
)
def test_what_cannot_be_stored_or_spoken_is_refused(options, message):
    with pytest.raises(CommandError, match=message):
        call_command("call", "+12025550123", "--no-wait", *options)
    assert not Call.objects.exists()


def test_a_list_is_placed_with_its_times_and_variables(csv, capsys):
    path = csv(
        "to,scheduled_for,timezone,record,name\n"
        "+12025550101,2026-12-01T09:00,America/New_York,no,Anna\n"
        "+12025550102,2026-12-01T09:00+01:00,,,Bert\n"
        ",,,,\n"
        "+12025550103,,,yes,Carl\n"
    )
    assert "3 calls are placed" in schedule(path, capsys=capsys)
    anna, bert, carl = Call.objects.order_by("to_number")
    assert anna.scheduled_for == datetime(2026, 12, 1, 14, tzinfo=UTC)
    assert (anna.variables, anna.record) == ({"name": "Anna"}, False)
    assert bert.scheduled_for == datetime(2026, 12, 1, 8, tzinfo=UTC)
    assert (carl.scheduled_for, carl.record) == (None, True)


def test_the_same_list_is_placed_once_unless_again_is_given(csv, capsys):
    path = csv("to\n+12025550101\n")
    schedule(path)
    assert "placed before" in schedule(path, capsys=capsys)
    assert Call.objects.count() == 1
    schedule(path, "--again")
    assert Call.objects.count() == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number\n+12025550101\n", "`to`"),
        ("to\n", "no calls"),
        ("to\n+12025550101,extra\n", r"calls.csv:2: .*fields"),
        ("to,record\n+12025550101,perhaps\n", r"calls.csv:2: .*perhaps"),
        ("to,scheduled_for\n+12025550101,soon\n", r"calls.csv:2: .*soon"),
        ("to,scheduled_for\n+12025550101,0001-01-01T00:00+14:00\n", r"calls.csv:2: .*0001"),
        ("to,scheduled_for,timezone\n+12025550101,2026-12-01,Mars\n", r"calls.csv:2: There is no time zone 'Mars'"),
        ("to,scheduled_for,timezone\n+12025550101,soon,Factory\n", r"calls.csv:2: The time zone 'Factory'"),
        ("to,timezone\n+12025550101,localtime\n", r"calls.csv:2: The time zone 'localtime'"),
        (
            "to,scheduled_for,timezone\n+12025550101,2027-03-14T02:30,America/New_York\n",
            r"calls.csv:2: The time 2027-03-14T02:30 does not exist in America/New_York.*06:30Z.*07:30Z",
        ),
        ("to\n+12025550101\n+1911\n", r"calls.csv:3: .*emergency"),
        ("to,agent\n+12025550101,nobody\n", r"calls.csv:2: .*nobody"),
        ('to,name\n+12025550101,"A\n+12025550102,B\n+12025550103,C\n', r"calls.csv:2: A quote is opened"),
        ("to,shceduled_for\n+12025550101,2026-12-01\n", r"calls.csv:1: .*Did you mean `scheduled_for`"),
        (f"to,name\n+12025550101,{'x' * 1001}\n", r"calls.csv:2: The variable 'name': This has 1001 characters"),
        ("to;name\n+12025550101;Ann\n", "semicolons"),
    ],
)
def test_a_list_with_an_invalid_line_is_not_placed_and_the_line_is_named(csv, text, message):
    with pytest.raises(CommandError, match=message):
        schedule(csv(text))
    assert not Call.objects.exists()


def test_everything_that_is_wrong_in_a_list_is_said_at_once(csv):
    text = "to,agent,record\n+1911,,\n+12025550102,,perhaps\n+12025550103\n+12025550104,nobody,\n+1 202 555 0104,,\n"
    with pytest.raises(CommandError) as raised:
        schedule(csv(text))
    lines = str(raised.value).splitlines()
    assert [line.split(":")[1] for line in lines[:-1]] == ["2", "3", "4", "5", "6"]
    assert lines[-1] == "No call was placed."


def test_the_same_person_twice_is_refused_with_both_lines_unless_asked_for(csv, capsys):
    path = csv("to,name\n+12025550101,A\n\n+12025550102,B\n+1 (202) 555-0101,C\n")
    for options in ((), ("--dry-run",)):
        with pytest.raises(CommandError, match=r"calls.csv:5: This is the same person as on line 2"):
            schedule(path, *options)
    assert not Call.objects.exists()
    assert "3 calls are placed" in schedule(path, "--allow-duplicates", capsys=capsys)


def test_it_is_told_who_waits_for_another_call_already(csv, capsys):
    schedule(csv("to\n+12025550101\n+12025550102\n"))
    Call.objects.filter(to_number="+12025550102").update(due_at=None, status="completed")
    path = csv("to,name\n+12025550109,C\n+1 202 555 0101,A\n+12025550102,B\n", "more.csv")
    for options in (("--dry-run",), ()):
        assert "waits already for 1 of the lines: 3." in " ".join(schedule(path, *options, capsys=capsys).split())
    assert "waits already" not in schedule(path, capsys=capsys)


def test_a_file_is_the_same_with_other_line_ends(csv, capsys):
    schedule(csv("to\n+12025550101\n"))
    path = csv("")
    path.write_bytes(b"to\r\n+12025550101\r\n")
    assert "placed before" in schedule(path, capsys=capsys)


def test_a_file_that_is_not_text_is_an_error(tmp_path):
    path = tmp_path / "calls.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match="cannot be read"):
        schedule(path)


def test_a_list_can_be_checked_without_placing_it(csv, capsys):
    assert "none was" in schedule(csv("to\n+12025550101\n"), "--dry-run", capsys=capsys)
    assert not Call.objects.exists()


def test_a_list_can_be_watched_until_its_calls_have_ended(csv, capsys, monkeypatch):
    from calls.management.commands import schedule as module

    monkeypatch.setattr(module.time, "sleep", lambda _seconds: Call.objects.update(status="busy"))
    DialPause.objects.create(scope="everything", cause="account", reason="Suspended.", try_at=timezone.now())
    printed = schedule(csv("to\n+12025550101\n+12025550102\n"), "--watch", capsys=capsys)
    assert "busy" in printed
    assert printed.count("Dialling is paused for everything: Suspended.") == 1
