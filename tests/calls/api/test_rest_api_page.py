"""The tables of docs/rest-api.md say what the code does."""

import re
from pathlib import Path

import pytest
from rest_framework import serializers

import clientcaller
from calls.api import fields, problems
from calls.api.serializers.calls import BatchSerializer, NewCallSerializer, SaySerializer, TransferSerializer
from calls.api.serializers.dialling import ResumeSerializer
from calls.api.serializers.lists import NewDoNotCallSerializer, NewWebhookSerializer, WebhookAddress
from calls.errors import CallsError

PAGE = Path(__file__).parents[3] / "docs" / "rest-api.md"
BODIES = {
    "`POST /api/calls/`": NewCallSerializer,
    "`POST /api/calls/batch/`": BatchSerializer,
    "`POST /api/calls/<id>/say/`": SaySerializer,
    "`POST /api/calls/<id>/transfer/`": TransferSerializer,
    "`POST /api/dialling/resume/`": ResumeSerializer,
    "`POST /api/do-not-call/`": NewDoNotCallSerializer,
    "`POST /api/webhooks/` and `PATCH /api/webhooks/<id>/`": NewWebhookSerializer,
}
TYPES = {
    fields.StrictText: "string",
    fields.NumberText: "string",
    fields.ZoneText: "string",
    WebhookAddress: "string",
    fields.StrictChoice: "string",
    fields.StrictInteger: "integer",
    fields.StrictBoolean: "boolean",
    fields.Timestamp: "time",
    fields.JSONObject: "object",
    fields.Variables: "object",
    fields.ShortList: "list",
    serializers.ListField: "list",
}
ANOTHER_TRY = {
    "carrier-failed": 503,
    "database-unavailable": 503,
    "recording-unreadable": 503,
    "storage-unavailable": 503,
}
"""The errors of a service that may succeed when it is repeated."""


def sections(level: str) -> dict[str, str]:
    """The text of each section under a heading of this level, by heading."""
    parts = re.split(rf"^{level} (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the first table, without its head."""
    (table,) = re.findall(r"^\|.*(?:\n\|.*)*", text, flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("heading", BODIES)
def test_the_fields_of_a_body_are_those_of_its_serializer(heading):
    documented = [
        (name.strip("`"), kind, required)
        for name, kind, required, *_ in rows(sections("###")[heading].split("\n## ")[0])
    ]
    expected = [
        (name, TYPES[type(field)], "yes" if field.required else "no")
        for name, field in BODIES[heading]().fields.items()
    ]
    assert documented == expected


def test_every_body_of_the_page_is_checked():
    assert set(sections("###")) == set(BODIES)


def test_the_codes_of_errors_are_those_of_the_api():
    documented = [row[0].strip("`") for row in rows(sections("##")["Errors"])]
    assert len(documented) == len(set(documented))
    assert set(documented) == set(problems.CODES)


def test_the_status_of_an_error_is_that_of_the_answer():
    folders = (Path(problems.__file__).parent, Path(clientcaller.__file__).parent / "web")
    sources = "".join(source.read_text(encoding="utf-8") for folder in folders for source in folder.rglob("*.py"))
    direct = {code: int(status) for status, code in re.findall(r"Problem\(\s*(\d+), \"([a-z-]+)\"", sources)}
    for code, status in ((row[0].strip("`"), int(row[1])) for row in rows(sections("##")["Errors"])):
        by_service = problems.problem_for(CallsError("", code=code)).status_code
        assert status == (ANOTHER_TRY | direct).get(code, by_service), code
