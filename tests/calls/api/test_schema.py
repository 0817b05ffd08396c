"""The OpenAPI document: it is complete and valid, its examples match it, and this server alone serves it."""

import json
from functools import cache

import jsonschema
import pytest
from django.core.management import call_command
from drf_spectacular.validation import validate_schema

from calls.api import problems
from calls.api.views import documentation

METHODS = ("get", "post", "put", "patch", "delete")


@cache
def document():
    return json.loads(json.dumps(documentation.openapi_document(), default=str))


def operations():
    return [
        pytest.param(path, method, operation, id=f"{method} {path}")
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]


def test_the_schema_is_valid_and_made_without_a_warning(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))
    validate_schema(document())


def test_every_address_is_documented():
    from calls.api.urls import urlpatterns

    shown = [pattern for pattern in urlpatterns if str(pattern.pattern) not in ("", "^schema/?$", "^docs/?$")]
    assert len(document()["paths"]) == len(shown) == 20


@pytest.mark.parametrize(("path", "method", "operation"), operations())
def test_an_operation_documents_its_purpose_and_its_problems(path, method, operation):
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"][0] in {tag["name"] for tag in document()["tags"]}
    expected = {"500", "503"}
    if operation.get("security"):
        assert operation["security"] == [{"key": []}, {"login": []}]
        assert "Scope: `" in operation["description"]
        expected |= {"401", "403", "429"}
    if "{" in path:
        expected.add("404")
    if "requestBody" in operation:
        expected |= {"400", "413", "415", "422"}
    assert expected <= set(operation["responses"])
    for status, response in operation["responses"].items():
        if int(status) >= 400 and status != "416":
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize(("path", "method", "operation"), operations())
def test_every_body_has_examples_that_match_its_schema(path, method, operation):
    bodies = [("request", "", operation["requestBody"])] if "requestBody" in operation else []
    bodies += [("response", status, one) for status, one in operation["responses"].items() if "content" in one]
    for kind, status, body in bodies:
        for media_type, content in body["content"].items():
            if media_type == "audio/wav":
                continue
            examples = [example["value"] for example in content.get("examples", {}).values()]
            assert examples, (kind, status, media_type)
            schema = {**content["schema"], "components": document()["components"]}
            for example in examples:
                jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(example, default=str)))
                if media_type == "application/problem+json":
                    assert example["code"] in problems.CODES


def test_the_former_name_of_a_turns_speaker_is_documented_as_deprecated():
    turn = document()["components"]["schemas"]["Turn"]["properties"]
    assert turn["who"]["deprecated"]
    assert "`speaker`" in turn["who"]["description"]
    assert "deprecated" not in turn["speaker"]


def test_every_code_is_in_the_introduction():
    assert all(f"| `{code}` |" in document()["info"]["description"] for code in problems.CODES)


def test_the_document_is_served_without_a_key(client):
    assert client.get("/api/schema/", HTTP_ACCEPT="application/json").json()["openapi"].startswith("3.1")
    assert b"openapi: 3.1" in client.get("/api/schema").content


def test_the_documentation_page_loads_nothing_from_other_servers(client):
    page = client.get("/api/docs/")
    assert page.status_code == 200
    text = page.content.decode()
    assert "/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in text
    assert "https://" not in text
