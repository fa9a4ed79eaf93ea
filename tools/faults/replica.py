"""A process of a service, held to what it promises about its end."""

import signal
from collections.abc import Mapping
from pathlib import Path

from tools.stack.parts import SILENT
from tools.stack.services import Service

START_SECONDS = 20.0
# docs/architecture.md: after SIGTERM it ends with status 0 within 20 s.
END_SECONDS = 20.0


class Replica(Service):
    """Adds each broken promise to `complaints`. A replica that has ended by itself is not started again."""

    def __init__(
        self, name: str, environment: Mapping[str, str], folder: Path, *, program: str, complaints: list[str]
    ) -> None:
        super().__init__(name, environment, folder, program=program, tied=True)
        self._complaints = complaints
        self._is_asked_to_run = False

    def launch(self) -> None:
        self._is_asked_to_run = True
        super().launch()

    async def start(self) -> None:
        """Returns when it serves; whether it is ready depends on the other parts."""
        self.launch()
        await self.daemon.ready(self._serves, START_SECONDS)

    async def become_ready(self) -> None:
        """Starts it; returns when every check of it is ok."""
        await super().start()

    async def unready(self) -> str:
        self._look()
        return await super().unready()

    async def stop(self) -> None:
        """Stops it by SIGTERM, and by SIGKILL where that takes longer than promised, which its status shows."""
        self._look()
        if not self._is_asked_to_run:
            return
        self._is_asked_to_run = False
        await self.daemon.stop(limit=END_SECONDS)
        if self.daemon.exit_status != 0:
            self._complain(f"ended with status {self.daemon.exit_status} after SIGTERM")

    async def kill(self) -> None:
        self._look()
        self._is_asked_to_run = False
        await self.daemon.stop(signal.SIGKILL)

    def _look(self) -> None:
        if self._is_asked_to_run and self.daemon.record is None:
            self._is_asked_to_run = False
            self._complain(f"ended by itself with status {self.daemon.exit_status}")

    def _complain(self, what: str) -> None:
        self._complaints.append(f"{self.daemon.name} {what}")

    async def _serves(self) -> bool:
        return await super().unready() != SILENT
