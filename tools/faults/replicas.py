"""A service's process, held to what it promises about its end."""

import signal
import time

from tools.stack.http import call
from tools.stack.processes import Daemon
from tools.stack.services import Service

START_SECONDS = 20.0
# docs/architecture.md: after SIGTERM it ends with status 0 within 20 s.
END_SECONDS = 20.0
KILL_SECONDS = 25.0


class Replica:
    """Notes in `complaints` what it should not have done; nobody starts again one that has ended by itself."""

    def __init__(self, service: Service, complaints: list[str]) -> None:
        self._service = service
        self._complaints = complaints
        self._is_asked_to_run = False

    @property
    def url(self) -> str:
        return self._service.url

    @property
    def daemon(self) -> Daemon:
        return self._service.daemon

    async def start(self) -> None:
        """Returns when it serves; whether it is ready depends on the other parts."""
        self._is_asked_to_run = True
        self._service.launch()
        await self.daemon.ready(self.answers, START_SECONDS)

    async def answers(self) -> bool:
        try:
            await call("GET", f"{self.url}/health/live")
        except OSError:
            return False
        return True

    async def become_ready(self) -> None:
        """Starts it if it does not run; returns when every check of it is ok."""
        self._is_asked_to_run = True
        await self._service.start()

    async def unready(self) -> str:
        """What it lacks, empty if nothing; asked directly."""
        self.look()
        checks = await self._service.checks()
        if checks is None:
            return "does not answer"
        return ", ".join(f"{name} {outcome}" for name, outcome in checks.items() if outcome != "ok")

    async def stop(self) -> None:
        """The orderly way, which takes as long as it takes it, at most 25 s."""
        self.look()
        if not self._is_asked_to_run:
            return
        self._is_asked_to_run = False
        began = time.monotonic()
        await self.daemon.stop(limit=KILL_SECONDS)
        took = time.monotonic() - began
        if took > END_SECONDS:
            self._complain(f"had not ended {took:.1f} s after SIGTERM")
        elif self.daemon.exit_status != 0:
            self._complain(f"ended with status {self.daemon.exit_status} after SIGTERM")

    async def kill(self) -> None:
        self.look()
        self._is_asked_to_run = False
        await self.daemon.stop(signal.SIGKILL)

    def look(self) -> None:
        """Notes it if the process has ended by itself."""
        if self._is_asked_to_run and self.daemon.record is None:
            self._is_asked_to_run = False
            self._complain(f"ended by itself with status {self.daemon.exit_status}")

    def _complain(self, what: str) -> None:
        self._complaints.append(f"{self.daemon.name} {what}")
