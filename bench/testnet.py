# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""The networks that bench/compare measures on: loopback, and a veth pair between two
network namespaces, with or without segmentation offloads and random loss."""
import dataclasses
import os
import subprocess
import time


@dataclasses.dataclass(frozen=True)
class Environment:
    """One network. mtu 0: loopback. loss: fraction of IP packets dropped in each direction."""
    name: str
    mtu: int = 0
    offloads: bool = True
    loss: float = 0.0

    @property
    def segment(self):
        """Bytes of payload in the largest UDP datagram that is not fragmented."""
        return self.mtu - 28 if self.mtu else 65507


ENVIRONMENTS = [Environment("loopback"), Environment("veth9000", 9000), Environment("veth1500", 1500)] + [
    Environment(f"veth{mtu}-noseg{suffix}", mtu, False, loss)
    for mtu in (9000, 1500) for suffix, loss in (("", 0.0), ("-loss0.1", 0.001), ("-loss1", 0.01))]


@dataclasses.dataclass(frozen=True)
class Side:
    """Where one of the two processes runs: a command prefix and its IP address."""
    prefix: tuple
    address: str


def run(*command, **keywords):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **keywords)


def can_make_namespaces():
    """None, or why not."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nft", "ethtool", "nsenter"):
        if subprocess.run(["sh", "-c", f"command -v {tool}"], stdout=subprocess.DEVNULL).returncode != 0:
            return f"the program '{tool}' is not installed"
    return None


class Network:
    """A context manager that makes an Environment and yields its two Sides.

    Namespaces are named after this process, so several runs do not disturb each other."""

    def __init__(self, environment):
        self.environment = environment
        self.names = [f"srdbench-{os.getpid()}-{side}" for side in "ab"]

    def __enter__(self):
        if self.environment.mtu == 0:
            return [Side((), "127.0.0.1")] * 2
        try:
            return self._make()
        except BaseException:
            self._remove()
            raise

    def __exit__(self, *exception):
        if self.environment.mtu != 0:
            self._remove()

    def _make(self):
        for name in self.names:
            run("ip", "netns", "add", name)
        run("ip", "-n", self.names[0], "link", "add", "veth0", "type", "veth", "peer", "name", "veth0",
            "netns", self.names[1])
        sides = []
        for index, name in enumerate(self.names):
            inside = ("nsenter", f"--net=/run/netns/{name}")
            address = f"10.77.0.{index + 1}"
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "veth0")
            run("ip", "-n", name, "link", "set", "veth0", "mtu", str(self.environment.mtu), "up")
            if not self.environment.offloads:
                # Loss must hit single datagrams and segments, not the super-packets of GSO and TSO.
                run(*inside, "ethtool", "-K", "veth0", "tx-udp-segmentation", "off", "tso", "off", "gso", "off")
            if self.environment.loss:
                rule = ("table ip loss { chain drops { type filter hook prerouting priority -300; iifname veth0 "
                        f"numgen random mod 10000 < {round(self.environment.loss * 10000)} counter drop; }}; }}")
                run(*inside, "nft", rule)
            sides.append(Side(inside, address))
        self._wait_for_carrier()
        return sides

    def _wait_for_carrier(self):
        """The kernel marks an interface as running up to a second after its partner came up."""
        for name in self.names:
            deadline = time.monotonic() + 5
            while "state UP" not in subprocess.run(["ip", "-n", name, "link", "show", "veth0"], check=True,
                                                   capture_output=True, text=True).stdout:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"veth0 in {name} does not come up")
                time.sleep(0.02)

    def _remove(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
