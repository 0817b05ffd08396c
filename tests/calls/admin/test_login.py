"""Guesses at the password of an operator are slowed down, by address and by name, and are logged."""

import logging
from datetime import timedelta

import pytest
import time_machine
from django.conf import settings as project
from django.test import Client
from django.utils import timezone

from calls.admin.logins import COOKIE

PASSWORD = "a-password-that-nobody-guesses"

FORM = {"username": "anna", "password": PASSWORD}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def operators(django_user_model):
    for name in ("anna", "bert"):
        django_user_model.objects.create_superuser(name, password=PASSWORD)


def log_in(*, name: str = "anna", password: str = PASSWORD, address: str = "10.0.0.1") -> int:
    """Return the status: 302 is a success, 200 shows the form again, 429 refuses whatever the password."""
    form = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address).post("/admin/login/?next=/admin/", form).status_code


def guess(count: int, *, names: tuple[str, ...] = ("anna",), addresses: tuple[str, ...] = ("10.0.0.1",)) -> list[int]:
    return [
        log_in(name=names[number % len(names)], password=f"guess {number}", address=addresses[number % len(addresses)])
        for number in range(count)
    ]


def test_an_operator_who_mistypes_a_few_times_gets_in():
    assert set(guess(project.AXES_FAILURE_LIMIT - 1)) == {200}
    assert log_in() == 302
    assert set(guess(project.AXES_FAILURE_LIMIT - 1)) == {200}  # a success forgets what was before


@pytest.mark.parametrize(
    ("names", "addresses"),
    [
        (("anna",), ("10.0.0.1",)),
        (("anna",), tuple(f"10.0.1.{number}" for number in range(40))),  # one name, from many addresses
        (tuple(f"name{number}" for number in range(40)), ("10.0.0.1",)),  # many names, from one address
    ],
)
def test_many_guesses_are_refused_for_a_while_even_if_the_last_one_is_right(names, addresses):
    statuses = guess(40, names=names, addresses=addresses)
    assert statuses.count(200) < project.AXES_FAILURE_LIMIT
    assert set(statuses[project.AXES_FAILURE_LIMIT :]) == {429}
    assert log_in() == 429
    # Trying on does not prolong it.
    with time_machine.travel(timezone.now() + project.AXES_COOLOFF_TIME + timedelta(seconds=1)):
        assert log_in() == 302


def test_guesses_at_one_operator_from_elsewhere_do_not_concern_another_one():
    guess(40, addresses=("10.6.6.6",))
    assert log_in(name="bert") == 302


def test_an_operator_who_is_logged_in_stays_so(admin_client):
    guess(40, names=("admin",))
    assert admin_client.get("/admin/").status_code == 200


def test_guesses_are_logged_without_the_password(caplog):
    caplog.set_level(logging.WARNING)
    guess(2, addresses=("10.6.6.6",))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("axes")]
    assert len(lines) == 2
    assert all("anna" in line and "10.6.6.6" in line and "guess 0" not in line for line in lines)


@pytest.fixture
def browser() -> Client:
    """A browser in which Anna has logged in and out again."""
    browser = Client(REMOTE_ADDR="10.0.0.1")
    assert browser.post("/admin/login/", FORM).status_code == 302
    browser.post("/admin/logout/")
    return browser


def guess_from_everywhere(name: str = "anna") -> None:
    guess(40, names=(name,), addresses=tuple(f"10.0.1.{number}" for number in range(40)))


def test_guesses_at_an_operator_do_not_keep_out_the_browser_in_which_they_were_logged_in(browser):
    guess_from_everywhere()
    guess(40, names=("somebody",))  # also from the same address
    assert log_in() == 429
    assert browser.post("/admin/login/", FORM).status_code == 302


def test_a_browser_is_known_for_one_name_and_by_a_genuine_cookie_only(browser):
    guess_from_everywhere("bert")
    assert browser.post("/admin/login/", {**FORM, "username": "bert"}).status_code == 429
    browser.cookies[COOKIE] = "forged"
    guess_from_everywhere()
    assert browser.post("/admin/login/", FORM).status_code == 429


def test_a_known_browser_can_guess_no_more_often_than_a_stranger_and_keeps_nobody_else_out(browser):
    statuses = [browser.post("/admin/login/", {**FORM, "password": f"guess {n}"}).status_code for n in range(40)]
    assert statuses.count(200) < project.AXES_FAILURE_LIMIT
    assert browser.post("/admin/login/", FORM).status_code == 429
    assert log_in(address="10.0.0.2") == 302


@pytest.mark.parametrize(
    ("name", "address", "agent"),
    [
        ("x" * 10_000, "10.0.0.1", ""),
        ("x" * 10_000, "fe80::1%eth0", "\xff" * 9000),
        ("anna", "unix:", ""),
        ("anna", "", "a" * 9000),
        ("anna", "::ffff:10.0.0.1", ""),
        ("a\0b", "10.0.0.1", ""),
        ("\u202e\U0010ffff\r\n", "10.0.0.1", ""),
    ],
)
def test_a_login_of_odd_names_and_addresses_is_refused_and_counted(name, address, agent):
    client = Client(REMOTE_ADDR=address, headers={"User-Agent": agent, "Accept": agent})
    path = "/admin/login/?next=%00" + "x" * 3000
    statuses = [client.post(path, {"username": name, "password": "guess"}).status_code for _ in range(20)]
    assert set(statuses) <= {200, 429}
    assert statuses[-1] == 429 or "\0" in name  # the form refuses NUL, so that it is no guess
