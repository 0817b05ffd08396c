"""A part of the process that is not ready says so while it runs, and no longer."""

import pytest

from calls.services import add_readiness_check
from calls.services.readiness import readiness_problems

pytestmark = pytest.mark.django_db


def loading() -> str:
    return "engines are loading"


def test_a_check_counts_until_it_is_removed():
    remove = add_readiness_check(loading)
    assert readiness_problems() == ["engines are loading"]
    remove()
    assert readiness_problems() == []


def test_removing_a_check_twice_leaves_an_equal_one_alone():
    first, second = add_readiness_check(loading), add_readiness_check(loading)
    first()
    first()
    assert readiness_problems() == ["engines are loading"]
    second()
    assert readiness_problems() == []


def test_a_check_without_a_problem_is_not_listed():
    remove = add_readiness_check(lambda: "")
    assert readiness_problems() == []
    remove()
