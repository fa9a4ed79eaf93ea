"""Prometheus over the running local stack, with the rules of deploy/prometheus, until Ctrl-C."""

import argparse
import asyncio
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from tools import running
from tools.stack import ports, programs
from tools.stack.http import call
from tools.stack.jobs import together
from tools.stack.parts import Server
from tools.stack.processes import Command
from tools.stack.services import NAMES, ROOT
from tools.terminal import exit_status, say

CONFIGURATION = ROOT / "deploy" / "prometheus"
NODE, POSTGRESQL = "prometheus-node-exporter", "prometheus-postgres-exporter"
PACKAGES = {program: program for program in ("prometheus", NODE, POSTGRESQL)}
PORT, NODE_PORT, POSTGRESQL_PORT = 9090, 9100, 9187
LEFT_OUT = """Left out: Grafana, which is no Debian package. `docker compose --profile observe up -d` has it with the
dashboards of deploy/grafana in place, and any other imports them. Nobody is told of an alert: that takes an
Alertmanager. Ctrl-C ends this; what was measured stays in .local/prometheus."""


class Exporter(Server):
    """Shows what a server says of itself, a machine or a database, as metrics."""

    start_seconds, stop_seconds = 20.0, 5.0

    def __init__(self, program: str, folder: Path, port: int, database_url: str = "") -> None:
        super().__init__(program, folder, tied=True)
        self.address = f"{ports.LOOPBACK}:{port}"
        self._folder, self._port, self._database_url = folder, port, database_url

    def command(self) -> Command:
        program = (programs.require(self.daemon.name), f"--web.listen-address={self.address}")
        return Command(program, {"DATA_SOURCE_NAME": self._database_url, "PGSSLMODE": "disable"}, self._folder)

    async def answers(self) -> bool:
        return await ports.listens(self._port)


class Prometheus(Server):
    """Scrapes the services at `urls` and the exporters, of the machine and of PostgreSQL, every `seconds`."""

    start_seconds, stop_seconds = 60.0, 20.0

    def __init__(
        self, folder: Path, port: int, urls: Mapping[str, str], exporters: Sequence[Exporter], seconds: int = 15
    ) -> None:
        super().__init__("prometheus", folder, tied=True)
        self.url = f"http://{ports.LOOPBACK}:{port}"
        self._folder = folder / "prometheus"
        text = (CONFIGURATION / "prometheus.yml").read_text().replace("interval: 15s", f"interval: {seconds}s")
        for name in NAMES:
            target = f'static_configs: [{{targets: ["{urlsplit(urls[name]).netloc}"]}}]'
            text = re.sub(rf"dns_sd_configs: \[{{names: \[{name}\].*", target, text)
        for exporter in exporters:
            text = text.replace("targets: []", f'targets: ["{exporter.address}"]', 1)
        self._configuration = text

    def command(self) -> Command:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "prometheus.yml").write_text(self._configuration)
        shutil.copytree(CONFIGURATION / "rules", self._folder / "rules", dirs_exist_ok=True)
        arguments = {
            "config.file": "prometheus.yml",
            "enable-feature": "exemplar-storage",
            "storage.tsdb.path": "data",
            "web.listen-address": urlsplit(self.url).netloc,
        }
        program = (programs.require("prometheus"), *(f"--{name}={value}" for name, value in arguments.items()))
        return Command(program, {}, self._folder, configuration=self._configuration)

    async def answers(self) -> bool:
        try:
            return (await call("GET", f"{self.url}/api/v1/status/buildinfo")).status == HTTPStatus.OK
        except OSError:
            return False


async def observe() -> None:
    stack = running.load()
    await stack.check()
    folder = running.FILE.parent
    exporters = [
        Exporter(NODE, folder, ports.choose(NODE_PORT)),
        Exporter(POSTGRESQL, folder, ports.choose(POSTGRESQL_PORT), stack.operator_url["orders-db"]),
    ]
    prometheus = Prometheus(folder, ports.choose(PORT), stack.url, exporters)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await together(*(server.start() for server in (*exporters, prometheus)))
        say(f"Prometheus: {prometheus.url}/graph, alerts {prometheus.url}/alerts\n{LEFT_OUT}")
        await ended.wait()
    finally:
        await together(*(server.stop() for server in (prometheus, *exporters)))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.observe", description=__doc__)
    parser.add_argument("--install", action="store_true", help="only install the Debian packages, promtool among them")
    options = parser.parse_args(arguments)
    programs.install_missing(PACKAGES)
    if not options.install:
        asyncio.run(observe())
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:])))
