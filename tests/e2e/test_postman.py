"""The Postman collection, as newman runs it: its own tests look at every answer."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.routes import ROUTES
from tests.e2e.system import System
from tools import installed, postman
from tools.stack.errors import StackError


@pytest.mark.timeout(installed.INSTALL_SECONDS + postman.RUN_SECONDS)
async def test_every_request_of_the_collection_passes_its_tests(system: System) -> None:
    try:
        await postman.run(system.url)
    except StackError as error:
        pytest.fail(f"{error}\n{error.log}", pytrace=False)


def test_the_collection_has_a_request_for_every_route() -> None:
    asked = {(item["request"]["method"], f"/{'/'.join(item['request']['url']['path'])}") for item in requests()}

    missing = [
        (route.method, route.path)
        for route in ROUTES
        if not any(method == route.method and re.fullmatch(pattern(route.path), path) for method, path in asked)
    ]

    assert missing == []


def test_every_request_of_the_collection_has_a_test() -> None:
    untested = [item["name"] for item in requests() if "pm.test(" not in str(item["event"])]

    assert untested == []


def requests() -> Iterator[dict[str, Any]]:
    for folder in json.loads(postman.COLLECTION.read_text())["item"]:
        yield from folder["item"]


def pattern(path: str) -> str:
    """Matches the path of a route as the collection writes it, where an id is a variable."""
    return re.sub(r"\{\w+\}", r"\\{\\{\\w+Id\\}\\}", path)
