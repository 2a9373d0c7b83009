"""Several machines on one: network namespaces joined by a switch, each with an address of its own."""

from __future__ import annotations

import os
import subprocess

NETWORK = "10.231.77"


class Network:
    """``hosts`` as namespaces, wired to a bridge in a namespace of its own; the host's network is not touched."""

    def __init__(self, hosts: list[str]) -> None:
        self._mark = f"dpl{os.getpid()}"
        self._switch = f"{self._mark}-switch"
        self._numbers = {host: number for number, host in enumerate(hosts, 1)}

    def build(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge0", "up")
        for host, number in self._numbers.items():
            space = self.space(host)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{number}", "netns", self._switch)
            _ip("-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", self._switch, "link", "set", f"p{number}", "master", "bridge0")
            _ip("-n", self._switch, "link", "set", f"p{number}", "up")

    def destroy(self) -> None:
        for space in [self._switch, *map(self.space, self._numbers)]:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    def space(self, host: str) -> str:
        return f"{self._mark}-{host}"

    def address(self, host: str) -> str:
        return f"{NETWORK}.{self._numbers[host]}"

    def prefix(self, host: str) -> tuple[str, ...]:
        """What to put before a command so that it runs on ``host``; it execs, so pids stay."""
        return ("ip", "netns", "exec", self.space(host))

    def cut(self, host: str) -> None:
        """Pull the cable: packets vanish, nobody is told."""
        _ip("-n", self._switch, "link", "set", f"p{self._numbers[host]}", "down")

    def heal(self, host: str) -> None:
        _ip("-n", self._switch, "link", "set", f"p{self._numbers[host]}", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


def possible() -> bool:
    """Whether this user may make namespaces with addresses in them."""
    network = Network(["probe"])
    try:
        network.build()
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        network.destroy()
    return True
