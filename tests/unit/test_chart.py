"""deploy/helm/storefront as far as it can be read without Helm: its values, their schema, and its table of parts."""

import json
import re
from configparser import ConfigParser
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from jsonschema import Draft7Validator

import ops.migrate
import ops.users
from tests.unit.test_production import ARROWS, load, merged
from tools import production
from tools.stack.services import NAMES, ROOT, variables

CHART = ROOT / "deploy/helm/storefront"
PROGRAMS = {
    "migrate-products": ops.migrate._Settings,
    "migrate-orders": ops.migrate._Settings,
    "broker": ops.users._Settings,
}
# What the templates write themselves; HOST is the image's.
WRITTEN = {"HOST", "PORT", "ADMIN_PORT", "DRAIN_SECONDS", "SERVICE_SECRET"}
OVER = ("values-demo.yaml", "values-operators.yaml")


def values(over: str | None = None) -> Any:
    usual = yaml.safe_load((CHART / "values.yaml").read_text())
    return merged(usual, yaml.safe_load((CHART / over).read_text())) if over else usual


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads((CHART / "values.schema.json").read_text())


@pytest.fixture(scope="module")
def parts() -> Any:
    [table] = re.findall(
        r'define "storefront.parts" -}}\n(.*?){{- end }}\n\n',
        (CHART / "templates/_helpers.tpl").read_text(),
        re.DOTALL,
    )
    return yaml.safe_load(re.sub(r"{{.*?}}", "", table))


def names(settings: Any) -> set[str]:
    return {name.upper() for name in settings.__dataclass_fields__}


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_a_service_is_written_or_may_be_set(schema: Any, parts: Any, name: str) -> None:
    part = parts[name]
    written = WRITTEN | part.get("urls", {}).keys() | {f"{called.upper()}_URL" for called in part.get("calls", ())}
    written |= {"API_KEYS"} if name == "gateway" else set()
    free = schema["properties"][name]["properties"]["env"]["properties"].keys()

    assert not written & free
    assert written | free == variables(name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_job_gets_what_its_program_reads(parts: Any, name: str) -> None:
    assert parts[name]["urls"].keys() == names(PROGRAMS[name])


def test_the_arrows_are_those_of_the_picture(parts: Any) -> None:
    servers = {
        "productDb": "product-db",
        "orderDb": "order-db",
        "productRedis": "product-redis",
        "orderRedis": "order-redis",
        "broker": "rabbitmq",
    }
    found = {(name, called) for name in NAMES for called in parts[name].get("calls", ())}
    found |= {(name, servers[path.split(".")[0]]) for name in NAMES for path in parts[name].get("urls", {}).values()}

    assert {frozenset(arrow) for arrow in found} == {frozenset(arrow) for arrow in ARROWS}


@pytest.mark.parametrize("over", [None, *OVER])
def test_values_are_right_and_a_wrong_key_is_refused(schema: Any, over: str | None) -> None:
    validator = Draft7Validator(schema)
    right = values(over)
    wrong = merged(right, {"orders": {"env": {"LINES_AND_HOLD": "true"}}})

    assert list(validator.iter_errors(right)) == []
    [error] = validator.iter_errors(wrong)
    assert "'LINES_AND_HOLD' was unexpected" in error.message


@pytest.mark.parametrize("over", OVER)
def test_make_secrets_draws_every_secret_that_nobody_else_does(over: str) -> None:
    found = values(over)
    named = set(re.findall(r"\$\(([A-Z_]+)\)", str(found["servers"])))
    drawn = set(production.REQUIRED.findall((ROOT / production.FILES[1]).read_text()))

    assert named - found["secrets"]["elsewhere"].keys() <= drawn
    assert found["secrets"]["elsewhere"].keys() <= named


def test_images_are_those_of_compose_and_the_release() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    services = load(production.FILES[0])["services"]
    of_compose = {"postgres": "product-db", "redis": "product-redis", "rabbitmq": "rabbitmq"}

    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == setup["metadata"]["version"]
    assert values("values-demo.yaml")["demo"]["images"] == {
        name: services[of]["image"] for name, of in of_compose.items()
    }
