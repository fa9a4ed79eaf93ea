"""Nodes: network namespaces on one switch, with a program in each, that can be killed, frozen and cut off.

The switch is a bridge in a namespace of its own, so the machine's firewall has no say in what nodes tell each other.
"""

import asyncio
import contextlib
import os
import signal
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path

import psutil

from tools.stack import jobs
from tools.stack.errors import StackError
from tools.stack.parts import Server
from tools.stack.processes import Command

NETWORK = "10.77.0"
HOST = f"{NETWORK}.1"
"""The machine's own address on the switch: where a client's requests come from that are sent outside of all nodes."""
SWITCH = "shop-switch"
NAMESPACES = Path("/run/netns")
# `ip netns exec` mounts what it finds there over the files in /etc.
OWN_FILES = Path("/etc/netns")
IP_SECONDS = 10.0
POLL_SECONDS = 0.05
KILL_SECONDS = 10.0

MAKE_SWITCH = f"""
set -eu
[ -e {NAMESPACES}/{SWITCH} ] && exit
ip netns add {SWITCH}
ip -n {SWITCH} link add switch type bridge
ip -n {SWITCH} link set switch up
ip link add {SWITCH} type veth peer name host netns {SWITCH}
ip -n {SWITCH} link set host master switch up
ip address add {HOST}/24 dev {SWITCH}
ip link set {SWITCH} up
"""
MAKE_NODE = f"""
set -eu
[ -e "{NAMESPACES}/$1" ] && exit
ip netns add "$1"
host="${{2##*.}}"
mac=$(printf 02:00:00:00:00:%02x "$host")
ip -n "$1" link add eth0 address "$mac" type veth peer name "port-$host" netns {SWITCH}
ip -n "$1" address add "$2/24" dev eth0
ip -n "$1" link set eth0 up
ip -n "$1" link set lo up
ip -n {SWITCH} link set "port-$host" master switch up
"""
# Both ends of a link go with either; with their namespaces they would go later, and be in the way of the next ones.
REMOVE_SWITCH = f"[ ! -e {NAMESPACES}/{SWITCH} ] || {{ ip link delete {SWITCH}; ip netns delete {SWITCH}; }}"
REMOVE_NODE = f"""
[ ! -e "{NAMESPACES}/$1" ] || {{ ip -n {SWITCH} link delete "port-${{2##*.}}"; ip netns delete "$1"; }}
"""
# What a node sends is dropped where it leaves, and what it is sent where it arrives: connections stay open, as with a
# cable that is pulled.
CUT = """
flush ruleset
table inet cut {{
    chain arriving {{ type filter hook input priority 0; ip saddr {{ {addresses} }} drop; }}
    chain leaving {{ type filter hook output priority 0; ip daddr {{ {addresses} }} drop; }}
}}
"""
# Somebody restarts what dies. A second later, so that a program that cannot start keeps no core busy.
SUPERVISOR = 'while :; do "$@"; echo "$0 ended with status $?"; sleep 1; done'


class Node(Server):
    """A machine of its own, as far as the network goes, with one program that is started again when it ends."""

    start_seconds = 60.0
    stop_seconds = 25.0

    def __init__(self, name: str, address: str, folder: Path) -> None:
        """Its files are in `folder`/`name`, its output in `folder`/log/`name`.log."""
        super().__init__(name, folder, tied=False)
        self.name = name
        self.address = address
        self.folder = folder / name
        self.namespace = f"shop-{name}"

    @abstractmethod
    def program(self) -> Command:
        """What runs in it."""

    async def role(self) -> str:
        """What it is among the nodes of its kind, where these differ."""
        return ""

    def command(self) -> Command:
        """The supervisor of the program, in the namespace."""
        program = self.program()
        user = program.user
        change = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups") if user else ()
        arguments = (*self.inside(*change), "/bin/sh", "-c", SUPERVISOR, self.name, *program.arguments)
        return Command(arguments, program.environment, program.folder, configuration=program.configuration)

    def pids(self) -> list[int]:
        """Of every process in it, the supervisor first; zombies are none."""
        with contextlib.suppress(FileNotFoundError):
            own = (NAMESPACES / self.namespace).stat().st_ino
            return sorted(pid for pid in psutil.pids() if _namespace(pid) == own)
        return []

    async def start(self) -> None:
        """Leaves a program that runs with the same command as it is; returns when it answers."""
        if not self.daemon.runs(self.command()):
            await self.stop()
            self.launch()
        await self.daemon.ready(self.answers, self.start_seconds)

    async def end(self, how: signal.Signals) -> None:
        """The whole node: after a SIGKILL, or when `stop_seconds` are over, all of it ends at once, frozen or not."""
        await self.daemon.stop(signal.SIGKILL)  # first, because it would start the program again
        if how is not signal.SIGKILL:
            self.thaw()
            pids = self.pids()
            for pid in pids:
                if _parent(pid) not in pids:  # what it has started it ends itself
                    _send(pid, how)
            if await self._emptied(self.stop_seconds):
                return
        if not await self._emptied(KILL_SECONDS, signal.SIGKILL):
            raise StackError(f"processes of {self.name} do not end: {self.pids()}")

    async def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Lets the program end, and returns when the supervisor has started it again and it answers."""
        ending = {pid for pid in self.pids() if _parent(pid) == self.daemon.pid}
        for pid in ending:
            _send(pid, how)
        async with asyncio.timeout(self.stop_seconds + self.start_seconds):
            while ending & set(self.pids()) or not await self.answers():  # noqa: ASYNC110  # no child of ours
                await asyncio.sleep(POLL_SECONDS)

    def freeze(self) -> None:
        """Stops every process, as a machine that hangs does: connections stay open, nothing is answered."""
        frozen: set[int] = set()
        while new := set(self.pids()) - frozen:  # one that was about to fork has done so by then
            for pid in sorted(new):
                _send(pid, signal.SIGSTOP)
            frozen |= new

    def thaw(self) -> None:
        for pid in self.pids():
            _send(pid, signal.SIGCONT)

    async def cut(self, addresses: Iterable[str]) -> None:
        """Loses every packet from and to these addresses, in place of those of an earlier call."""
        await self.run("nft", CUT.format(addresses=", ".join(addresses)))

    async def heal(self) -> None:
        """Ends what `cut` did."""
        await self.run("nft", "flush ruleset")

    async def run(self, *arguments: str, limit: float = IP_SECONDS) -> str:
        """What a program printed that was run in the namespace, as root; StackError if it fails."""
        return await jobs.finish(f"{arguments[0]} on {self.name}", self.inside(*arguments), limit)

    def inside(self, *arguments: str) -> tuple[str, ...]:
        """The command that runs a program in the namespace."""
        return ("ip", "netns", "exec", self.namespace, *arguments)

    async def _emptied(self, limit: float, how: int = 0) -> bool:
        """Waits at most `limit` seconds until no process is left; each is sent `how` as soon as it is seen."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while pids := self.pids():
                    for pid in pids:
                        _send(pid, how)
                    await asyncio.sleep(POLL_SECONDS)
        return not self.pids()


async def make_namespaces(nodes: Iterable[Node]) -> None:
    """The switch, and for each node a namespace in which the names of all resolve; leaves those that exist."""
    nodes = list(nodes)
    await jobs.finish("ip netns", ("/bin/sh", "-c", MAKE_SWITCH), IP_SECONDS)
    hosts = "".join(f"{node.address} {node.name}\n" for node in nodes)
    for node in nodes:
        own = OWN_FILES / node.namespace
        own.mkdir(parents=True, exist_ok=True)
        (own / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        make = ("/bin/sh", "-c", MAKE_NODE, "make", node.namespace, node.address)
        await jobs.finish("ip netns", make, IP_SECONDS)


async def remove_namespaces(nodes: Iterable[Node]) -> None:
    """Their programs must have ended. The switch goes with the last one."""
    for node in nodes:
        remove = ("/bin/sh", "-c", REMOVE_NODE, "remove", node.namespace, node.address)
        await jobs.finish("ip netns", remove, IP_SECONDS)
        own = OWN_FILES / node.namespace
        (own / "hosts").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            own.rmdir()
    names = (await jobs.finish("ip netns", ("ip", "netns"), IP_SECONDS)).split()
    if not {name for name in names if name.startswith("shop-")} - {SWITCH}:
        await jobs.finish("ip netns", ("/bin/sh", "-c", REMOVE_SWITCH), IP_SECONDS)


def _namespace(pid: int) -> int | None:
    """The number of its network namespace; None if it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _parent(pid: int) -> int | None:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).ppid()
    return None


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
