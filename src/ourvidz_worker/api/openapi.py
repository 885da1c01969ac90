"""The OpenAPI 3.1 document, built from the route table and the types of its bodies."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from ourvidz_worker.api.auth import Access
from ourvidz_worker.api.bodies import PICTURE_TYPES
from ourvidz_worker.api.problems import (
    MEDIA_TYPE,
    OpenAIProblem,
    Problem,
    kind_of,
    speaks_openai,
)
from ourvidz_worker.api.row import Content, Row
from ourvidz_worker.domain.errors import (
    OurvidzError,
    PayloadTooLarge,
    RateLimited,
    RequestError,
    Unauthorized,
    UnsupportedMediaType,
)

Json = dict[str, object]

TITLE = "ourvidz-worker"
REFERENCE = "#/components/schemas/{name}"
BEARER = "bearer"

_PARAMETER = re.compile(r"\{(\w+)\}")


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """Every JSON reply names its request, as the header X-Request-Id does."""

    request_id: str


def build_document(rows: Sequence[Row], version: str) -> Json:
    """The document that describes `rows`; the same rows give the same document."""
    _, schemas = msgspec.json.schema_components(_types(rows), ref_template=REFERENCE)
    paths: dict[str, Json] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version},
        "paths": paths,
        "components": {
            "schemas": {name: _on_one_line(schemas[name]) for name in sorted(schemas)},
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer"}},
        },
    }


def _types(rows: Iterable[Row]) -> list[type]:
    found: dict[type, None] = {Traced: None, Problem: None, OpenAIProblem: None}
    for row in rows:
        contents = [*row.bodies, *(content for reply in row.replies.values() for content in reply)]
        found |= {content: None for content in contents if isinstance(content, type)}
    return list(found)


def _operation(row: Row) -> Json:
    summary, _, more = (row.handle.__doc__ or "").strip().partition("\n")
    operation: Json = {
        "operationId": _operation_id(row),
        "summary": summary,
        "security": _security(row),
        "responses": _responses(row),
    }
    if more.strip():
        operation["description"] = " ".join(more.split())
    if parameters := _parameters(row):
        operation["parameters"] = parameters
    if row.bodies:
        content = _content(row.bodies, traced=False)
        operation["requestBody"] = {"required": not row.body_optional, "content": content}
    return operation


def _operation_id(row: Row) -> str:
    words = re.findall(r"\w+", row.path.removeprefix("/v1")) or ["root"]
    return "_".join([row.method.lower(), *words])


def _security(row: Row) -> list[Json]:
    key: Json = {BEARER: []}
    return [key] if row.access is Access.KEY else [{}, key]


def _parameters(row: Row) -> list[Json]:
    in_path: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(row.path)
    ]
    if row.query is None:
        return in_path
    schema = msgspec.json.schema(row.query)["$defs"][row.query.__name__]
    in_query: list[Json] = [
        {"name": name, "in": "query", "schema": rule} for name, rule in schema["properties"].items()
    ]
    return in_path + in_query


def _responses(row: Row) -> Json:
    responses: Json = {
        str(status): {"description": "Done.", "content": _content(contents, traced=True)}
        if contents
        else {"description": "Done."}
        for status, contents in row.replies.items()
    }
    form = OpenAIProblem if speaks_openai(row.path) else Problem
    by_status: dict[int, list[str]] = {}
    for problem in _problems(row):
        told = (problem.__doc__ or "").strip().partition("\n")[0]
        by_status.setdefault(kind_of(problem).status, []).append(f"{problem.code}: {told}")
    for status, told_ones in sorted(by_status.items()):
        responses[str(status)] = {
            "description": " ".join(told_ones),
            "content": {MEDIA_TYPE: {"schema": _reference(form)}},
        }
    return responses


def _problems(row: Row) -> list[type[OurvidzError]]:
    """Those of the row, and those that any such row may answer with."""
    usual: list[type[OurvidzError]] = [OurvidzError]
    if row.access is not Access.HEALTH:
        usual.append(Unauthorized)
    if row.access is Access.INFERENCE:
        usual.append(RateLimited)
    if row.bodies:
        usual += [RequestError, PayloadTooLarge, UnsupportedMediaType]
    elif row.query is not None:
        usual.append(RequestError)
    return list(dict.fromkeys([*usual, *row.problems]))


def _content(contents: Sequence[Content], *, traced: bool) -> Json:
    """Media type to schema; several JSON forms are alternatives."""
    forms = [_reference(content) for content in contents if isinstance(content, type)]
    media: Json = {
        content: {"schema": {"type": "string", "format": "binary"}}
        if content in PICTURE_TYPES
        else {"schema": {"type": "string"}}
        for content in contents
        if isinstance(content, str)
    }
    if forms:
        one: Json = forms[0] if len(forms) == 1 else {"anyOf": forms}
        schema = {"allOf": [one, _reference(Traced)]} if traced else one
        media = {"application/json": {"schema": schema}} | media
    return media


def _on_one_line(schema: Json) -> Json:
    """A docstring in the schema, without the breaks it has in the source."""
    description = schema.get("description")
    if not isinstance(description, str):
        return schema
    return schema | {"description": " ".join(description.replace("`", "").split())}


def _reference(kind: type) -> Json:
    return {"$ref": REFERENCE.format(name=kind.__name__)}
