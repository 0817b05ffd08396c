"""``manage.py apikey``, ``donotcall`` and ``forget``."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from calls.models import Agent, ApiKey, Call, DoNotCall
from calls.services.keys import find_key

pytestmark = pytest.mark.django_db

ANNA, BERT = "+12025550101", "+12025550102"


def run_command(*arguments: object) -> str:
    out = io.StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=io.StringIO())
    return out.getvalue()


# --- apikey ------------------------------------------------------------------------------------------------


def test_a_created_key_is_the_only_output_so_that_a_script_can_read_it():
    secret = run_command("apikey", "create", "crm", "--scope", "read", "--scope", "dial", "--rate", "60/minute").strip()
    key = find_key(secret)
    assert (key.name, key.scopes, key.rate, key.expires_at) == ("crm", ["read", "dial"], "60/minute", None)


@pytest.mark.parametrize(("text", "days"), [("12h", 0.5), ("90d", 90), ("2w", 14), ("1y", 365)])
def test_a_key_can_expire(text, days):
    before = timezone.now()
    run_command("apikey", "create", "crm", "--scope", "read", "--expires", text)
    assert before <= ApiKey.objects.get().expires_at - timedelta(days=days) <= timezone.now()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "crm", "--scope", "read", "--expires", "soon"], "write it as 12h"),
        (["create", "crm", "--scope", "read", "--rate", "often"], "600/minute"),
        (["create", "crm", "--scope", "admin"], "invalid choice"),
        (["create", "crm"], "--scope"),
        (["revoke", "crm"], "no key 'crm'"),
    ],
)
def test_invalid_arguments_for_a_key_are_errors(arguments, message):
    with pytest.raises(CommandError, match=message):
        run_command("apikey", *arguments)


def test_the_name_of_a_key_commands_no_terminal():
    ApiKey.objects.create(name="\x1b[2Jcrm\ncc_9", prefix="cc_12345", digest="d" * 64, scopes=["read"])
    [line] = run_command("apikey", "list").splitlines()
    assert r" \x1b[2Jcrm\ncc_9 " in line


def test_the_list_shows_revoked_keys_and_no_secrets():
    secrets = [run_command("apikey", "create", name, "--scope", "read").strip() for name in ("crm", "old")]
    run_command("apikey", "revoke", "old")
    assert find_key(secrets[1]) is None
    lines = run_command("apikey", "list").splitlines()
    assert [line.split()[1:3] for line in lines] == [["active", "crm"], ["revoked", "old"]]
    assert not any(secret[8:] in line for secret in secrets for line in lines)


# --- donotcall ---------------------------------------------------------------------------------------------


def test_a_number_is_added_listed_and_removed():
    assert "is on" in run_command("donotcall", "add", "+1 202 555 0101", "--reason", "asked, twice")
    assert "was already" in run_command("donotcall", "add", ANNA)
    header, entry = run_command("donotcall", "list").splitlines()
    assert header == "source,number,reason,created_at"
    assert entry.startswith(f'operator,{ANNA},"asked, twice",')
    assert "may be dialled again" in run_command("donotcall", "remove", ANNA)
    assert not DoNotCall.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["add", "555"], "country code"), (["remove", ANNA], "not on the do-not-call list"), (["add"], "number")],
)
def test_invalid_arguments_for_an_entry_are_errors(arguments, message):
    with pytest.raises(CommandError, match=message):
        run_command("donotcall", *arguments)


REASONS = [
    "said so", "", "two\nlines", "5+cmd|' /C calc'!A0;", 'a;"=1;',
    'a "quote"', "=HYPERLINK(A1)", "+1", "-1", "@a", "\t=1", "\r", "'tis", "'=1", " x ",
]  # fmt: skip


def test_a_list_is_exported_inert_and_imported_again_with_the_same_data(tmp_path):
    long_ago = datetime(2020, 1, 31, 9, 30, 0, 123456, tzinfo=UTC)
    for number, reason in enumerate(REASONS):
        DoNotCall.objects.create(number=f"+1202555{number:04}", reason=reason, source="caller", created_at=long_ago)
    before = list(DoNotCall.objects.values_list("number", "reason", "source", "created_at"))
    file = tmp_path / "list.csv"
    file.write_text(run_command("donotcall", "list"))
    with file.open(newline="") as lines:
        cells = [row[2] for row in csv.reader(lines)]
    # A spreadsheet of a country with decimal commas ends cells at semicolons.
    cells += re.split("[;\n]", file.read_text())
    assert not any(cell.strip(' "').startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    DoNotCall.objects.all().delete()
    assert run_command("donotcall", "import", file).startswith(f"{len(REASONS)} numbers are new")
    assert list(DoNotCall.objects.values_list("number", "reason", "source", "created_at")) == before
    assert run_command("donotcall", "import", file).startswith("0 numbers are new")


def test_no_control_character_of_a_reason_reaches_the_terminal():
    DoNotCall.objects.create(number=ANNA, reason="\x1b[2J\u202egnp.exe\x07")
    printed = run_command("donotcall", "list")
    assert r"\u001b[2J\u202egnp.exe\u0007" in printed


def test_a_list_may_be_plain_lines(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text(f"\ufeff# a remark\r\n\r\n{ANNA},stop\r\n {BERT} \r\n{ANNA}\r\n", encoding="utf-8")
    assert "2 numbers are new" in run_command("donotcall", "import", file)
    assert dict(DoNotCall.objects.values_list("number", "reason")) == {ANNA: "stop", BERT: ""}


def test_a_repeated_number_is_told(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text(f"{ANNA}\n{ANNA}\n")
    assert "1 lines repeat a number" in run_command("donotcall", "import", file)


def test_of_a_list_with_wrong_lines_nothing_is_added_and_each_is_shown(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text(
        f"number,reason,source,created_at\n{ANNA},stop,,\nhello,,,\n020 1234,,,\n{BERT},,friend,\n{BERT},,,soon\n"
        f'{BERT},{"x" * 256},,\n{BERT}\n{BERT},"stop,,\n'
    )
    with pytest.raises(CommandError) as raised:
        run_command("donotcall", "import", file)
    lines = str(raised.value).splitlines()
    assert [line.split(":")[1] for line in lines[:-1]] == ["3", "4", "5", "6", "7", "8", "9"]
    assert lines[-1] == "No number was added."
    assert not DoNotCall.objects.exists()


def test_of_many_wrong_lines_some_are_shown_and_all_counted(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("nonsense\n" * 50)
    with pytest.raises(CommandError) as raised:
        run_command("donotcall", "import", file)
    assert len(str(raised.value).splitlines()) == 22
    assert "... and 30 more" in str(raised.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_file_is_an_error(tmp_path, content):
    file = tmp_path / "list.csv"
    if content:
        file.write_bytes(content)
    with pytest.raises(CommandError, match="cannot be read"):
        run_command("donotcall", "import", file)


# --- forget ------------------------------------------------------------------------------------------------


@pytest.fixture
def call(db) -> Call:
    return Call.objects.create(
        direction="inbound", status="completed", from_number=ANNA, agent=Agent.objects.get(name="front-desk")
    )


def test_a_person_is_forgotten_and_what_was_removed_is_printed(call):
    run_command("donotcall", "add", ANNA)
    printed = run_command("forget", "+1 (202) 555-0101", "--yes")
    assert "1 calls" in printed
    assert "stays on the do-not-call list" in printed
    call.refresh_from_db()
    assert call.from_number == "forgotten"
    assert DoNotCall.objects.filter(number=ANNA).exists()


@pytest.mark.parametrize("address", ["sip:anna@example.com", "client:anna"])
def test_a_caller_without_a_number_is_forgotten_with_the_recording(call, address):
    recording = default_storage.save("recordings/anna.wav", ContentFile(b"her voice"))
    Call.objects.update(from_number=address, recording=recording)
    assert "1 calls" in run_command("forget", address, "--yes")
    call.refresh_from_db()
    assert (call.from_number, call.recording.name) == ("forgotten", "")
    assert not default_storage.exists(recording)


def test_the_number_leaves_the_do_not_call_list_only_on_request(call):
    run_command("donotcall", "add", ANNA)
    assert "stays on" not in run_command("forget", ANNA, "--yes", "--and-do-not-call")
    assert not DoNotCall.objects.exists()


@pytest.mark.parametrize(("answer", "forgotten"), [(ANNA, True), (f" {ANNA} ", True), ("yes", False), ("", False)])
def test_without_yes_the_number_must_be_confirmed(call, monkeypatch, answer, forgotten):
    monkeypatch.setattr("builtins.input", lambda _: answer)
    if forgotten:
        run_command("forget", ANNA)
    else:
        with pytest.raises(CommandError, match="Nothing was removed"):
            run_command("forget", ANNA)
    call.refresh_from_db()
    assert (call.from_number == "forgotten") == forgotten


def test_without_a_terminal_nothing_is_removed(call, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(CommandError, match="--yes"):
        run_command("forget", ANNA)
    call.refresh_from_db()
    assert call.from_number == ANNA


def test_forgetting_a_person_on_the_line_is_an_error(call):
    Call.objects.update(status="in-progress")
    with pytest.raises(CommandError, match="Hang up first"):
        run_command("forget", ANNA, "--yes")


def test_forgetting_text_without_a_number_is_an_error():
    with pytest.raises(CommandError, match="international form"):
        run_command("forget", "Anna", "--yes")
