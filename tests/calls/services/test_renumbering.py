"""Stored numbers are brought into the one form in which numbers are read."""

import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command

from calls.models import Agent, Call, DialAttempt, DoNotCall
from calls.services import privacy, renumbering
from calls.services.renumbering import renumber

pytestmark = pytest.mark.django_db

LONDON, OURS = "+442079460018", "+15005550006"
OLD = "+4402079460018"
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def list_number(number: str, *, day: int = 0, **fields) -> DoNotCall:
    return DoNotCall.objects.create(number=number, created_at=START + timedelta(days=day), **fields)


def make_call(**fields) -> Call:
    fields = {"direction": "inbound", "status": "completed", **fields}
    return Call.objects.create(agent=Agent.objects.get(name="front-desk"), **fields)


def dump() -> list:
    columns = [
        (Call, "from_number", "to_number", "transfer_to", "idempotency_key", "request_digest"),
        (DialAttempt, "from_number", "to_number"),
        (Agent, "phone_number", "transfer_targets"),
        (DoNotCall, "number", "reason", "source", "created_at", "call_id"),
    ]
    return [list(model.objects.order_by("pk").values_list("pk", *names)) for model, *names in columns]


@pytest.fixture
def old_rows():
    """Rows as earlier versions and other systems have written them, in each column that holds a number."""
    call = make_call(from_number=OLD, to_number="+1 500 555 0006", transfer_to=OLD)
    make_call(from_number="sip:Anna@Example.com;transport=udp", to_number=OURS)
    make_call(from_number="sip:+44(0)2079460018;npdi@Trunk.example", to_number=OURS)
    make_call(from_number="+266696687", to_number=OURS)
    make_call(from_number="12345", to_number=privacy.FORGOTTEN)
    dialled = make_call(direction="outbound", to_number=OLD, idempotency_key="a", request_digest="b")
    DialAttempt.objects.create(call=dialled, number=1, to_number=OLD, from_number="+110005550006", ended_at=START)
    Agent.objects.create(name="sales", phone_number=OLD, transfer_targets={"boss": OLD, "desk": LONDON, "x": "nobody"})
    list_number("+112025550140", reason="said so", source="caller", call=call)
    list_number("+999", reason="typed")


def test_every_column_is_brought_into_its_form(old_rows):
    report = renumber()
    calls = Call.objects.order_by("created_at").values_list("from_number", "to_number", "transfer_to")
    assert sorted(calls) == sorted(
        [
            (LONDON, OURS, LONDON),
            ("sip:Anna@example.com", OURS, ""),
            (f"sip:{LONDON};npdi@trunk.example", OURS, ""),
            ("anonymous", OURS, ""),
            ("12345", "forgotten", ""),
            ("", LONDON, ""),
        ]
    )
    assert DialAttempt.objects.values_list("to_number", "from_number").get() == (LONDON, "+10005550006")
    agent = Agent.objects.get(name="sales")
    assert agent.phone_number == LONDON
    assert agent.transfer_targets == {"boss": LONDON, "desk": LONDON, "x": "nobody"}
    assert DoNotCall.objects.get(number="+12025550140").reason == "said so"
    assert report.unreadable == {
        "Call.from_number": {"12345": 1},
        "Agent.transfer_targets": {"nobody": 1},
        "DoNotCall.number": {"+999": 1},
    }
    assert dict(report.changed) == {
        "Call.from_number": 4,
        "Call.to_number": 2,
        "Call.transfer_to": 1,
        "DialAttempt.from_number": 1,
        "DialAttempt.to_number": 1,
        "Agent.phone_number": 1,
        "Agent.transfer_targets": 1,
        "DoNotCall.number": 1,
    }


def test_a_second_run_changes_nothing(old_rows):
    renumber()
    before = dump()
    assert not renumber().changed
    assert dump() == before


def test_a_dry_run_reports_the_same_and_changes_nothing(old_rows):
    list_number(LONDON)
    list_number(OLD)
    list_number("+44002079460018")
    before = dump()
    foreseen = renumber(dry_run=True)
    assert dump() == before
    assert renumber() == foreseen
    assert (foreseen.changed["DoNotCall.number"], foreseen.merged) == (3, 2)


def test_rows_are_changed_page_by_page(monkeypatch):
    monkeypatch.setattr(renumbering, "PAGE", 2)
    for n in range(7):
        make_call(from_number=f"+44020794600{n:02}")
    assert renumber().changed["Call.from_number"] == 7
    assert Call.objects.filter(from_number__startswith="+44207946").count() == 7


@pytest.mark.parametrize("first", [OLD, LONDON])
def test_of_two_entries_that_become_one_the_older_date_and_a_reason_stay(first):
    second = LONDON if first == OLD else OLD
    call = make_call(from_number=LONDON)
    list_number(first, day=0, source="key", call=call)
    list_number(second, day=3, source="api", reason="by letter")
    report = renumber()
    entry = DoNotCall.objects.get()
    assert (entry.number, entry.created_at, entry.reason) == (LONDON, START, "by letter")
    assert (entry.source, entry.call) == ("key", call)
    assert (report.changed["DoNotCall.number"], report.merged) == (1, 1)


def test_the_log_of_the_admin_names_the_entry_by_its_new_number(admin_user):
    entry = list_number(OLD)
    kind = ContentType.objects.get_for_model(DoNotCall)
    LogEntry.objects.create(
        user=admin_user, content_type=kind, object_id=entry.pk, object_repr=OLD, action_flag=ADDITION
    )
    renumber()
    privacy.forget(number=LONDON, and_do_not_call=True)
    assert LogEntry.objects.get().object_repr == privacy.FORGOTTEN


def test_a_number_that_only_one_row_may_have_is_left_where_another_row_has_it():
    Agent.objects.create(name="old", phone_number=OLD)
    Agent.objects.create(name="new", phone_number=LONDON)
    Agent.objects.create(name="closed", phone_number=OLD, active=False)
    for number in (OLD, LONDON):
        call = make_call(direction="outbound", status="ringing", to_number=number)
        DialAttempt.objects.create(call=call, number=1, to_number=number, from_number=OURS)
    foreseen = renumber(dry_run=True)
    report = renumber()
    assert report == foreseen
    assert Agent.objects.get(name="old").phone_number == OLD
    assert Agent.objects.get(name="closed").phone_number == LONDON
    assert sorted(DialAttempt.objects.values_list("to_number", flat=True)) == [OLD, LONDON]
    assert [text.split(" of ")[0] for text in report.taken] == ["DialAttempt.to_number", "Agent.phone_number"]


def test_a_person_who_is_forgotten_meanwhile_stays_forgotten(monkeypatch):
    call = make_call(from_number=OLD)
    read = renumbering.read_address

    def forgotten_in_between(text):
        Call.objects.filter(pk=call.pk).update(from_number=privacy.FORGOTTEN)
        return read(text)

    monkeypatch.setattr(renumbering, "read_address", forgotten_in_between)
    assert not renumber().changed
    call.refresh_from_db()
    assert call.from_number == privacy.FORGOTTEN


def test_the_command_shows_what_changes_and_what_cannot_be_read(old_rows):
    list_number(OLD)
    list_number(LONDON)

    def run(*arguments):
        out = io.StringIO()
        call_command("renumber", *arguments, stdout=out)
        return out.getvalue()

    foreseen = run("--dry-run")
    assert "Call.from_number: 4 numbers would be changed." in foreseen
    assert "Of these, 1 would become one entry with another" in foreseen
    assert "DoNotCall.number: these cannot be read and stay as they are: +999 (1)" in foreseen
    assert "Call.from_number: 4 numbers were changed." in run()
    assert "has its form already" in run()


def test_many_different_values_that_cannot_be_read_are_counted():
    for n in range(renumbering.MOST_SHOWN + 5):
        make_call(from_number=f"caller {uuid4()} {n}")
    values = renumber().unreadable["Call.from_number"]
    assert (len(values), values["others"]) == (renumbering.MOST_SHOWN + 1, 5)


def test_entries_that_cannot_exist_are_reported_and_old_forms_are_brought_up_to_date():
    for number in ("+1212555012324", "+3903471234567", "+5215512345678", "+551181234567", "+14365550123", LONDON):
        list_number(number)
    report = renumber()
    assert report.impossible == {"+1212555012324": 1}
    assert {"+393471234567", "+525512345678"} <= set(DoNotCall.objects.values_list("number", flat=True))
    out = io.StringIO()
    call_command("renumber", stdout=out)
    assert "do not exist, so they stop no call. Check them: +1212555012324 (1)" in out.getvalue()
