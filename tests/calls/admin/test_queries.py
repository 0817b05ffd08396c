"""Whatever stands in the address of a list of the admin, the answer is no error of the server."""

from urllib.parse import urlencode

import pytest

from calls.admin.queries import LONGEST_SEARCH

LISTS = {
    "calls/call": ("status", "status__exact", "waiting", "direction__exact", "end_reason", "agent__id__exact"),
    "calls/agent": ("language", "active__exact"),
    "calls/donotcall": ("source__exact",),
    "calls/apikey": ("active__exact",),
    "calls/webhookdelivery": ("status", "event", "endpoint__id__exact", "call__id__exact"),
    "calls/webhookendpoint": ("active__exact",),
    "auth/user": ("is_staff__exact", "groups__id__exact"),
    "axes/accessattempt": ("attempt_time__gte", "id__in"),
}
"""Lists, with the parameters of their filters."""
DATED = [name for name in LISTS if name.startswith("calls/")]
ODD = ("\0", "a\0b", "9" * 30, "-1", "0", "NaN", "1e400", "\u00b2", "\u0663", "1,2", f"1,{'9' * 30}", "'")
"""Values that no filter expects."""
REFUSED = [
    *({"q": text} for text in ("\0", "a\0b", "a " * LONGEST_SEARCH)),
    *({"created_at__year": year} for year in ("0", "-5", "9999", "10000", "99999", "9" * 30)),
    {"created_at__year": "9999", "created_at__month": "12", "created_at__day": "31"},
    {"p": "9" * 30},
    {"status": "\0"},
    {"a\0b": "1"},
]
TAKEN = [
    {"q": "4" * 40},
    {"q": "a " * (LONGEST_SEARCH // 2)},
    {"created_at__year": "2026", "created_at__month": "2", "created_at__day": "28"},
    {"created_at__year": "9998"},
    {"p": "1", "o": "1.-2"},
]


@pytest.mark.parametrize("name", LISTS)
def test_odd_values_of_filters_and_pages_are_no_error(name, admin_client, outbound):
    outbound("completed")
    for parameter in (*LISTS[name], "q", "p", "o", "e", "all", "_facets", "foo"):
        for value in ODD:
            status = admin_client.get(f"/admin/{name}/?{urlencode({parameter: value})}").status_code
            assert status in (200, 302, 400), (parameter, value)


@pytest.mark.parametrize("name", DATED)
def test_what_no_list_can_answer_is_refused_and_the_rest_is_taken(name, admin_client):
    for query in REFUSED:
        response = admin_client.get(f"/admin/{name}/?{urlencode(query)}")
        assert response.status_code == 400, query
        assert response.content.startswith(b"The address of this page cannot be used: ")
    for query in TAKEN:
        response = admin_client.get(f"/admin/{name}/?{urlencode(query)}", follow=True)
        assert response.status_code == 200, query


def test_a_form_cannot_be_filled_in_with_a_time_by_the_address(admin_client):
    page = admin_client.get("/admin/calls/apikey/add/?name=billing&expires_at=2030-01-01")
    assert page.status_code == 200
    assert b'value="billing"' in page.content


def test_strangers_see_the_login_whatever_they_ask_for(client):
    assert client.get("/admin/calls/call/?q=%00")["Location"].startswith("/admin/login/")


def test_other_pages_than_those_of_the_admin_have_their_own_rules(client):
    assert client.get("/healthz?q=%00").status_code == 200
