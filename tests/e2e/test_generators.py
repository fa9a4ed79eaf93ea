"""Clients that generators make of docs/openapi.json place an order at the running system and read it."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.system import System
from tools import installed
from tools.installed import INSTALL_SECONDS
from tools.stack.errors import StackError
from tools.stack.jobs import finish
from tools.stack.services import ROOT
from tools.venv import INSTALL

_CLIENTS = Path(__file__).with_name("clients")
_LIMIT = 60.0
# What npm and pip say where no registry answers.
_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "NewConnectionError", "ConnectTimeoutError")

# A status, a quantity, the number of events, and the code of a refusal.
_EXPECTED = ["done", 2, 2, "validation_error"]

_ATTRS = """
import json
import sys

from attrs_client import Client
from attrs_client.api.orders import create_order, get_order, watch_order
from attrs_client.api.products import create_product
from attrs_client.models import CreateOrderOfOneProduct, CreateProduct

client = Client(base_url=sys.argv[1], timeout=30)
product = create_product.sync(client=client, body=CreateProduct(name="Lamp", price="1.00", qty=5)).data
order = CreateOrderOfOneProduct(product_id=product.id, quantity=2)
placed = create_order.sync(client=client, body=order).data
read = get_order.sync(placed.id, client=client, wait=10).data
events = watch_order.sync(placed.id, client=client).count("event: status")
refused = create_order.sync(client=client, body=CreateOrderOfOneProduct(product_id=product.id, quantity=0))
print(json.dumps([read.status, read.quantity, events, refused.error.code]))
"""

_PYDANTIC = """
import json
import sys

import httpx
from pydantic_models import CreateOrderOfOneProduct, CreateProduct, Failure, HistoryAnswer, OrderAnswer, ProductAnswer

client = httpx.Client(base_url=sys.argv[1], timeout=30)
body = CreateProduct(name="Lamp", price="1.00", qty=5).model_dump(mode="json")
product = ProductAnswer.model_validate_json(client.post("/products", json=body).content).data
order = CreateOrderOfOneProduct(productId=product.id, quantity=2).model_dump(mode="json", exclude_unset=True)
placed = OrderAnswer.model_validate_json(client.post("/orders", json=order).content).data
read = OrderAnswer.model_validate_json(client.get(f"/orders/{placed.id}?wait=10").content).data
history = HistoryAnswer.model_validate_json(client.get(f"/orders/{placed.id}/history").content).data
refused = Failure.model_validate_json(client.post("/orders", json={**order, "quantity": 0}).content)
print(json.dumps([read.status.value, read.quantity, len(history), refused.error.code.value]))
"""


@pytest.mark.timeout(INSTALL_SECONDS + 4 * _LIMIT)  # half a minute, and as much for the installation
async def test_a_client_of_each_generator_places_an_order_and_reads_it(system: System, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "openapi.json", tmp_path)
    found = await asyncio.gather(_typescript(system.url, tmp_path), _python(system.url, tmp_path))

    assert {name: answer for answers in found for name, answer in answers.items()} == {
        "openapi-typescript": _EXPECTED,
        "@hey-api/openapi-ts": _EXPECTED,
        "openapi-python-client": _EXPECTED,
        "datamodel-code-generator": _EXPECTED,
    }


async def _typescript(url: str, folder: Path) -> dict[str, Any]:
    """What the clients print; the compiler has checked that they are used as their types say."""
    modules = await _installed(installed.npm(_CLIENTS)) / "node_modules"
    shutil.copytree(_CLIENTS, folder, dirs_exist_ok=True)
    (folder / "node_modules").symlink_to(modules)
    await _run(folder, "node", str(modules / "openapi-typescript" / "bin" / "cli.js"), "openapi.json", "-o", "api.ts")
    await _run(folder, "node", str(modules / "@hey-api" / "openapi-ts" / "bin" / "index.cjs"))
    await _run(folder, "node", str(modules / "typescript" / "bin" / "tsc"))
    return {
        "openapi-typescript": json.loads(await _run(folder, "node", "out/openapi-fetch.js", url)),
        "@hey-api/openapi-ts": json.loads(await _run(folder, "node", "out/hey-api.js", url)),
    }


async def _python(url: str, folder: Path) -> dict[str, Any]:
    environment = await _installed(installed.once([_CLIENTS / "requirements.txt"], _install_generators))
    # Its programs are run as modules: the scripts name the folder in which they were installed.
    python = str(environment / "bin" / "python")
    client = ("--meta", "none", "--output-path", "attrs_client", "--fail-on-warning")
    await _run(folder, python, "-m", "openapi_python_client", "generate", "--path", "openapi.json", *client)
    options = ("--output-model-type", "pydantic_v2.BaseModel", "--formatters", "builtin")
    models = ("--input", "openapi.json", "--output", "pydantic_models.py")
    await _run(folder, python, "-m", "datamodel_code_generator", *models, *options)
    return {
        "openapi-python-client": json.loads(await _run(folder, python, "-c", _ATTRS, url)),
        "datamodel-code-generator": json.loads(await _run(folder, python, "-c", _PYDANTIC, url)),
    }


async def _install_generators(folder: Path) -> None:
    """In a virtual environment."""
    await finish("python -m venv", (sys.executable, "-m", "venv", str(folder)), INSTALL_SECONDS)
    command = (str(folder / "bin" / "python"), *INSTALL, str(folder / "requirements.txt"))
    await finish("pip install", command, INSTALL_SECONDS)


async def _installed(work: Coroutine[Any, Any, Path]) -> Path:
    try:
        return await work
    except StackError as error:
        if any(sign in error.log for sign in _UNREACHABLE):
            pytest.skip(f"no package registry can be reached, and the generators are not installed: {error}")
        pytest.fail(f"{error}\n{error.log}", pytrace=False)


async def _run(folder: Path, *command: str) -> str:
    # Without a PYTHONPATH: the generators' packages are not ours.
    environment = {
        "PATH": f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
    }
    try:
        return await finish(" ".join(command[:3]), command, _LIMIT, folder=folder, environment=environment)
    except StackError as error:
        pytest.fail(f"{error}\n{error.log}", pytrace=False)
