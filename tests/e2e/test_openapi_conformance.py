"""The running system against its own strict document: Schemathesis makes requests from it and checks each answer."""

import json
import os
import sys
from pathlib import Path

import pytest

from gateway.routes import ROUTES
from tests.e2e.system import System
from tools.documents.openapi.document import document
from tools.stack.errors import StackError
from tools.stack.jobs import finish
from tools.stack.services import ROOT

_CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
_LIMIT = 150.0
_OF_THE_GATEWAY = {"/docs", "/health/live", "/health/ready", "/metrics", "/openapi.json"}
_OPERATIONS = {f"{route.method} {route.path}" for route in ROUTES} | {f"GET {path}" for path in _OF_THE_GATEWAY}

# A random request may meet no order that is held; the Postman collection makes sure of these.
_OF_A_HOLD = {"POST /orders/{id}/confirm", "POST /orders/{id}/hold"}


@pytest.mark.timeout(_LIMIT + 30)  # half a minute on two cores that have nothing else to do
async def test_every_answer_is_as_the_document_says(system: System, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    strict = tmp_path / "openapi.json"
    # Its server is relative to its own address, which a file has not: `--url` takes its place.
    strict.write_text(json.dumps(document(ROUTES, strict=True) | {"servers": []}))
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIGURATION), "--no-color"),
        *("run", str(strict), f"--url={system.url}", "--checks=all", f"--report-json-path={report}"),
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    try:
        await finish("Schemathesis", command, _LIMIT, folder=tmp_path, environment=environment)
    except StackError as error:
        pytest.fail(f"{error}\n{error.log}", pytrace=False)

    found = json.loads(report.read_text())
    assert {phase: outcome["status"] for phase, outcome in found["phases"].items()} == {
        "examples": "success",
        "coverage": "success",
        "fuzzing": "success",
        "stateful": "success",
    }
    # An operation that refuses all its requests would be as its document says, too.
    accepted = {name for name, phases in found["valid_rates"].items() if phases["fuzzing"]["accepted"]}
    assert accepted | _OF_A_HOLD == _OPERATIONS
