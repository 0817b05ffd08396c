"""A part of the process that is not ready says so while it runs, and no longer."""

import pytest

from calls.services import Refusal, add_readiness_check, add_readiness_details, add_refusal_check
from calls.services.readiness import find_refusal, readiness_details, readiness_problems

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


def test_a_refusal_counts_until_it_is_removed_and_one_that_needs_an_operator_comes_first():
    busy, exhausted = Refusal("full", is_busy=True), Refusal("no credit", is_busy=False)
    removes = [add_refusal_check(check) for check in (lambda: None, lambda: busy, lambda: exhausted)]
    assert find_refusal() == exhausted
    removes.pop()()
    assert find_refusal() == busy
    for remove in removes:
        remove()
    assert find_refusal() is None
    assert readiness_problems() == []


def test_details_are_shown_together():
    removes = [add_readiness_details(lambda: {"a": 1}), add_readiness_details(lambda: {"b": [2]})]
    assert readiness_details() == {"a": 1, "b": [2]}
    for remove in removes:
        remove()
    assert readiness_details() == {}
