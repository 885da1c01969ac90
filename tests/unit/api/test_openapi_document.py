"""The OpenAPI document: every route of the table, whole and consistent."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ourvidz_worker.api.app import ROWS, openapi_document
from ourvidz_worker.api.auth import Access
from ourvidz_worker.api.problems import MEDIA_TYPE

DOCUMENT: dict[str, Any] = json.loads(msgspec.json.encode(openapi_document("1.2.3")))
OPERATIONS = [
    (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def references(value: object) -> Iterator[str]:
    """Every reference within."""
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_it_describes_every_route_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, method, _ in OPERATIONS}
    assert described == {(row.method, row.path) for row in ROWS}
    assert len(described) == len(ROWS)


def test_it_is_an_openapi_document_of_that_version() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"] == {"title": "ourvidz-worker", "version": "1.2.3"}
    assert openapi_document("1.2.3") == openapi_document("1.2.3")


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    names = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert names - set(schemas) == set()
    assert set(schemas) - names == set()


def test_every_operation_has_a_name_of_its_own_and_a_summary() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(operation["summary"].endswith((".", ":")) for _, _, operation in OPERATIONS)


def test_every_part_of_a_path_is_a_parameter() -> None:
    for path, _, operation in OPERATIONS:
        named = [item["name"] for item in operation.get("parameters", []) if item["in"] == "path"]
        assert [f"{{{name}}}" in path for name in named] == [True] * path.count("{")


def test_every_operation_tells_its_problems() -> None:
    for _, _, operation in OPERATIONS:
        told = {
            int(status)
            for status, reply in operation["responses"].items()
            if MEDIA_TYPE in reply.get("content", {})
        }
        assert 500 in told
        assert ({400, 413, 415} <= told) or "requestBody" not in operation


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_keys_are_asked_for_where_they_are_needed(row: object) -> None:
    for found in ROWS:
        if found is row:
            operation = DOCUMENT["paths"][found.path][found.method.lower()]
            without = {} in operation["security"]
            assert without is (found.access is not Access.KEY)


def test_every_json_reply_names_its_request() -> None:
    traced = {"$ref": "#/components/schemas/Traced"}
    for path, _, operation in OPERATIONS:
        for status, reply in operation["responses"].items():
            schema = reply.get("content", {}).get("application/json", {}).get("schema")
            if schema and path != "/openapi.json":
                assert traced in schema["allOf"], (path, status)


def test_alternative_bodies_are_told() -> None:
    body = DOCUMENT["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]
    assert [form["$ref"].rpartition("/")[2] for form in body["schema"]["anyOf"]] == [
        "MessagesBody",
        "InputsBody",
    ]
    pictures = DOCUMENT["paths"]["/v1/references"]["post"]["requestBody"]["content"]
    assert set(pictures) >= {"image/png", "image/jpeg", "image/webp"}


def test_it_needs_no_web_server_and_no_model_library() -> None:
    code = (
        "import sys\nfrom ourvidz_worker.api.app import openapi_document\n"
        "openapi_document('0')\n"
        "print([n for n in ('torch','httpx','uvicorn','pydantic','numpy') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
