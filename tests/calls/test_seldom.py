"""What clients can cause at any rate is logged in few lines."""

import logging

from calls import seldom
from calls.seldom import Seldom


def test_a_flood_is_a_few_lines_in_a_while_with_the_number_of_the_others(caplog, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(seldom.time, "monotonic", lambda: now)
    refusals = Seldom(logging.getLogger("calls.test"), lines=2, period=60.0)
    for count in range(1000):
        refusals.warning("Refused %s", count)
    now += 60.0
    refusals.warning("Refused %s", "the last")
    refusals.warning("Refused %s", "another")
    assert [record.getMessage() for record in caplog.records] == [
        "Refused 0",
        "Refused 1",
        "Refused the last (998 more like it since the last such line)",
        "Refused another",
    ]
