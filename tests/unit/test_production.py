"""docker-compose.production.yml over the usual file, as Compose merges them, and what `make secrets` writes."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # as below

from gateway.access.keyring import Keyring
from gateway.settings import Settings
from tools import production
from tools.stack.errors import StackError
from tools.stack.services import ROOT

# The arrows of docs/architecture.md.
ARROWS = {
    *(("gateway", "orders"), ("gateway", "products"), ("orders", "products")),
    *(("orders", "rabbitmq"), ("products", "rabbitmq")),
    *(("order-db", "orders"), ("order-redis", "orders"), ("product-db", "products"), ("product-redis", "products")),
}
# They run when somebody asks for it.
JOBS = {"ops": {"broker", "order-data", "product-data"}, "k6": {"entrance"}, "rabbitmq-user": {"broker"}}
JOBS |= {"grafana": {"services"}, "prometheus": {"services"}}
JOBS |= {f"{name}s-migrate": {f"{name}-data"} for name in ("order", "product")}


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # its stubs are a package of their own
    """Marks what `!override` and `!reset` put in the place of the value below."""


class Replaced(list[Any]):
    pass


def _replaced(loader: Loader, node: yaml.SequenceNode) -> Replaced:
    return Replaced(loader.construct_sequence(node))


Loader.add_constructor("!override", _replaced)
Loader.add_constructor("!reset", _replaced)


def load(name: str) -> Any:
    return yaml.load((ROOT / name).read_text(), Loader)  # noqa: S506  # derived from SafeLoader


def merged(below: Any, above: Any) -> Any:
    """https://docs.docker.com/reference/compose-file/merge/"""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {name: merged(below.get(name), value) for name, value in above.items()}
    if isinstance(below, list) and isinstance(above, list) and not isinstance(above, Replaced):
        return below + above
    return above


@pytest.fixture(scope="module")
def system() -> Any:
    usual, over = map(load, production.FILES)
    return merged(usual, over)


def test_every_secret_is_required_and_none_has_a_default(system: Any) -> None:
    texts = str({name: part.get("environment") for name, part in system["services"].items()})
    required = set(production.REQUIRED.findall(texts))
    named = set(re.findall(r"\$\{([A-Z_]*(?:PASSWORD|SECRET|KEYS))", texts))

    assert named == required
    assert required == set(production.REQUIRED.findall((ROOT / production.FILES[1]).read_text()))
    assert not re.search(r"development|guest", texts)
    assert not re.search(r"\$\{[A-Z_]*(?:PASSWORD|SECRET|KEYS):-", texts)


def test_nobody_is_let_in_without_a_key_or_past_the_gateway(system: Any) -> None:
    services = system["services"]
    assert services["gateway"]["environment"]["GATEWAY_ALLOW_ANONYMOUS"] == "false"
    secrets = {services[name]["environment"]["SERVICE_SECRET"] for name in ("gateway", "orders", "products")}
    assert secrets == {"${SERVICE_SECRET:?}"}
    assert {name: part["ports"] for name, part in services.items() if part.get("ports")} == {
        "gateway": ["127.0.0.1:${GATEWAY_PORT:-4000}:4000"]
    }


@pytest.mark.parametrize("name", ["product", "order"])
def test_a_cache_has_a_password_that_its_service_alone_knows(system: Any, name: str) -> None:
    password = f"${{{name.upper()}_REDIS_PASSWORD:?}}"
    redis = system["services"][f"{name}-redis"]
    usual = load(production.FILES[0])["services"][f"{name}-redis"]["command"]

    assert redis["command"] == [*usual, "--requirepass", password]
    knowing = {part for part, content in system["services"].items() if password in str(content)}
    assert knowing == {f"{name}-redis", f"{name}s"}
    assert system["services"][f"{name}s"]["environment"]["REDIS_URL"] == f"redis://:{password}@{name}-redis:6379/0"


def test_images_have_a_minor_version_and_a_base_system(system: Any) -> None:
    of_compose = {part["image"] for part in system["services"].values() if "image" in part}
    of_dockerfile = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    pinned = {image for image in of_compose | of_dockerfile if re.search(r":\d+\.\d+(\.\d+)?(-slim)?-trixie$", image)}

    # The others have one base system for each version.
    one_base = {"rabbitmq:4.3-management", "grafana/k6:1.8.1", "grafana/grafana:13.1.2", "prom/prometheus:v3.13.1"}
    assert (of_compose | of_dockerfile) - pinned == one_base


def test_networks_allow_the_arrows_of_the_picture_and_no_others(system: Any) -> None:
    networks = {name: set(part.get("networks", ["default"])) for name, part in system["services"].items()}
    parts = sorted(networks.keys() - JOBS.keys())
    reached = {(one, other) for one, other in itertools.combinations(parts, 2) if networks[one] & networks[other]}

    assert reached == ARROWS
    assert {name: networks[name] for name in JOBS} == JOBS
    assert {name for name, network in system["networks"].items() if not network.get("internal")} == {"entrance"}
    assert set().union(*networks.values()) == system["networks"].keys()  # nothing is in the default one


def test_what_is_written_is_all_that_is_required_and_lets_the_gateway_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".env"
    production.main(path)
    shown = capsys.readouterr().out
    found = dict(line.split("=", 1) for line in path.read_text().splitlines())
    values = {name: value.strip("'") for name, value in found.items()}

    assert values.pop("COMPOSE_FILE").split(":") == list(production.FILES)
    assert values.keys() == set(production.REQUIRED.findall((ROOT / production.FILES[1]).read_text()))
    assert len(set(values.values())) == len(values)
    passwords = [value for name, value in values.items() if name != "API_KEYS"]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", value) for value in passwords)  # as they stand in a URL
    urls = {"PRODUCTS_URL": "http://products:3001", "ORDERS_URL": "http://orders:3002", "HOST": "0.0.0.0"}  # noqa: S104  # as in the image
    settings = Settings.load(urls | {name: values[name] for name in ("API_KEYS", "SERVICE_SECRET")})
    for name, scopes in production.KEYS.items():
        (key,) = re.findall(rf"^  {name} +(\S+)", shown, re.MULTILINE)
        known = Keyring(settings.api_keys).find(f"Bearer {key}")
        assert known is not None
        assert (known.name, known.scopes) == (name, frozenset(scopes))
    assert path.stat().st_mode & 0o077 == 0
    assert not [value for value in passwords if value in shown]
    with pytest.raises(StackError, match="is there already"):
        production.main(path)
