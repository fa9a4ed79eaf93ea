import configparser
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.routes import ROUTES
from tools.documents.openapi.document import document
from tools.documents.openapi.operations import OPERATIONS

DOCUMENT = json.loads(json.dumps(document(ROUTES)))
STRICT = json.loads(json.dumps(document(ROUTES, strict=True)))
WITHOUT_EXAMPLE = {"/docs", "/openapi.json"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resolved(document: dict[str, Any], response: dict[str, Any]) -> Any:
    name = response.get("$ref", "").rpartition("/")[2]
    return document["components"]["responses"][name] if name else response


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


@pytest.mark.parametrize("strict", [False, True])
def test_it_is_a_valid_openapi_document_and_the_same_each_time(strict: bool) -> None:
    again = document(ROUTES, strict=strict)
    assert list(OpenAPIV31SpecValidator(again).iter_errors()) == []
    assert json.loads(json.dumps(again)) == (STRICT if strict else DOCUMENT)


def test_each_route_has_its_operation_and_each_operation_its_route() -> None:
    assert OPERATIONS.keys() == {f"{route.method} {route.path}" for route in ROUTES}


def test_its_version_is_that_of_the_package_and_it_names_no_other_host() -> None:
    package = configparser.ConfigParser()
    package.read(Path(__file__).parents[3] / "setup.cfg")
    assert DOCUMENT["info"]["version"] == package["metadata"]["version"]
    assert DOCUMENT["servers"][0]["url"] == "."


def contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for method, path, each in operations(document):
        for content in each.get("requestBody", {}).get("content", {}).values():
            yield f"{method} {path}", content
        for status, response in each["responses"].items():
            for content in resolved(document, response).get("content", {}).values():
                if path not in WITHOUT_EXAMPLE or status != "200":
                    yield f"{method} {path} {status}", content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(content, id=f"{name} {where}")
        for name, each in (("document", DOCUMENT), ("strict", STRICT))
        for where, content in contents(each)
    ],
)
def test_each_example_is_what_its_schema_says(content: dict[str, Any]) -> None:
    examples = [content["example"]] if "example" in content else []
    examples += [example["value"] for example in content.get("examples", {}).values()]
    assert examples
    assert [error.message for example in examples for error in validator(content["schema"]).iter_errors(example)] == []


def schemas(part: Any) -> Iterator[dict[str, Any]]:
    """Every schema with examples of its own."""
    if isinstance(part, dict):
        if isinstance(part.get("examples"), list):
            yield part
        for each in part.values():
            yield from schemas(each)
    elif isinstance(part, list):
        for each in part:
            yield from schemas(each)


def test_each_example_in_a_schema_is_what_the_schema_says() -> None:
    found = list(schemas(DOCUMENT))
    wrong = [each for schema in found for each in schema["examples"] if not validator(schema).is_valid(each)]
    assert len(found) > 10
    assert wrong == []


def test_each_schema_is_valid_and_each_object_of_an_answer_or_a_body_is_closed() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        validator_for(schema, Draft202012Validator).check_schema(schema)
        forms = schema.get("oneOf", [schema])
        assert [form for form in forms if "$ref" not in form and form["additionalProperties"]] == []
