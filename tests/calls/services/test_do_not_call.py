"""The do-not-call list."""

import pytest

from calls.models import Agent, Call, DoNotCall
from calls.services import CallsError
from calls.services.do_not_call import NewEntry, add_do_not_call, add_many_do_not_call, remove_do_not_call
from tests.calls.services.dialler import ANNA, BERT

pytestmark = pytest.mark.django_db


def test_a_number_is_added_once_and_keeps_its_first_reason():
    call = Call.objects.create(direction="inbound", from_number=ANNA, agent=Agent.objects.get(name="front-desk"))
    entry, new = add_do_not_call(number=ANNA, source="caller", reason="take me off your list", call=call)
    assert (entry.number, entry.source, entry.call, new) == (ANNA, "caller", call, True)
    assert add_do_not_call(number="+1 (202) 555-0101", source="operator", reason="again") == (entry, False)
    assert DoNotCall.objects.get().reason == "take me off your list"


@pytest.mark.parametrize("number", ["", "anonymous", "2025550101", "+0123456789", "client:anna", "+12", "+1202555٠١٠١"])
def test_text_without_a_number_is_not_added_to_the_list(number):
    with pytest.raises(CallsError) as raised:
        add_do_not_call(number=number, source="operator")
    assert (raised.value.code, raised.value.field) == ("invalid-number", "number")


def test_an_unknown_source_is_refused():
    with pytest.raises(CallsError, match="source"):
        add_do_not_call(number=ANNA, source="gossip")


def test_a_number_can_be_removed_from_the_list():
    add_do_not_call(number=ANNA, source="operator")
    assert remove_do_not_call(number=ANNA)
    assert not remove_do_not_call(number=ANNA)


def test_a_long_reason_is_cut():
    assert len(add_do_not_call(number=ANNA, source="caller", reason="no " * 200)[0].reason) == 255


def test_many_numbers_are_added_at_once_and_the_new_ones_counted():
    add_do_not_call(number=ANNA, source="caller", reason="said so")
    assert add_many_do_not_call([NewEntry(ANNA, "listed"), NewEntry(BERT, "listed")]) == 1
    assert dict(DoNotCall.objects.values_list("number", "reason")) == {ANNA: "said so", BERT: "listed"}
