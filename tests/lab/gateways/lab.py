"""The whole: nine networks, from a node on one side to a host in the VPC on the other."""

import fcntl
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import yaml

from infra.addressing import AddressPlan, address_plan
from infra.network.appliance import HEALTH_PORT, Appliance, user_data
from infra.settings import Settings
from tests.lab.gateways import filters, flows, vault
from tests.lab.gateways.connections import Connections, answers
from tests.lab.gateways.journal import Journal
from tests.lab.gateways.namespaces import Annex, Machine, Network, cable
from tests.lab.gateways.packages import UnavailableError, unpacked
from tests.lab.gateways.sides import Side, plug, write_aws, write_frr, write_gateway
from tests.lab.gateways.units import commands, start

FLOATING_IP, OUTSIDE, AWS_ROUTER = "192.0.2.20", ("203.0.113.11", "203.0.113.12"), "203.0.113.1"
VAULT_PORT, FLOWS_PORT = 5000, 7400
_COMES_UP_S = 90

LIBIPSEC_MTU = 1400
"""Bytes of the buffer that it reads packets into (`TUN_DEFAULT_MTU` of kernel-libipsec)."""


@dataclass
class Lab:
    """Use as a context manager. Everything that it made is gone afterwards, but for its folder."""

    settings: Settings
    state: Path
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        with self._stack as stack:
            self._begin(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    @cached_property
    def plan(self) -> AddressPlan:
        return address_plan(self.settings)

    @property
    def outer_mtu(self) -> int:
        """Of the OpenStack network, bytes."""
        return self.settings.openstack_site[1].mtu

    @property
    def largest_outer(self) -> int:
        """A packet of the planned MTU on its way, bytes: ESP with AES-GCM in UDP, as `infra.addressing` counts it."""
        return 60 + self.plan.tunnel_mtu + 2

    @cached_property
    def appliance(self) -> Appliance:
        vault_url = f"http://127.0.0.1:{VAULT_PORT}"
        return Appliance(
            addresses=self.plan,
            floating_ip=FLOATING_IP,
            outside=OUTSIDE,
            identity_url=f"{vault_url}/v3",
            credential_id=vault.CREDENTIAL["id"],
            credential_secret=vault.CREDENTIAL["secret"],
            secret_refs=tuple(f"{vault_url}{path.removesuffix('/payload')}" for path in vault.KEYS),
        )

    @property
    def node_address(self) -> str:
        return str(self.plan.openstack.dhcp[0])

    @property
    def pod_address(self) -> str:
        return str(self.pods[7])

    @cached_property
    def pods(self):
        """The first block of pod addresses, as Cilium gives a node."""
        return next(self.plan.openstack.pods.subnets(new_prefix=25))

    @property
    def host_address(self) -> str:
        return str(self.plan.aws.private[0][10])

    def established(self) -> bool:
        """Both tunnels, and BGP over each, at both ends."""
        mine = {tunnel["aws"]: "Established" for tunnel in self.appliance.tunnels}
        theirs = {tunnel["gateway"]: "Established" for tunnel in self.appliance.tunnels}
        return (
            all(side.established(tunnel) for side in (self.gateway, self.aws) for tunnel in (1, 2))
            and mine.items() <= self.gateway.neighbours().items()
            and theirs == self.aws.neighbours()
            and self.hops() == (set(mine), set(theirs))
        )

    def hops(self) -> tuple[set[str], set[str]]:
        """By which of the other's addresses the gateway reaches the VPC, and AWS the nodes."""
        return self.gateway.hops(str(self.plan.aws.vpc)), self.aws.hops(str(self.plan.openstack.nodes))

    def settle(self, seconds: float = _COMES_UP_S) -> None:
        """Wait until all is as it should be, and the gateway says so."""
        self.journal.until("both tunnels and both sessions stand", self.established, seconds)
        self.journal.until("the gateway says so", lambda: self.health().get("degraded") is False, 20)

    def lose(self, tunnel: int, *, back: bool = False) -> None:
        """Let no packet pass between the gateway and AWS's end of a tunnel, or let them pass again."""
        element = f"{{ {OUTSIDE[tunnel - 1]} }}"
        self.outside.run("nft", "delete" if back else "add", "element", "ip", "lab", "lost", element)

    @contextmanager
    def connections(self, how_many: int) -> Iterator[Connections]:
        """TCP connections from the node to the host in the VPC, with messages there and back all the while."""
        target = self.state / "flows.json"
        target.unlink(missing_ok=True)
        asking = (flows.__file__, "ask", self.host_address, str(FLOWS_PORT), str(how_many))
        process = self.node.spawn(sys.executable, *asking, target)
        try:
            self.journal.until("every connection has answers", lambda: target.exists() and all(answers(target)), 20)
            yield Connections(target, self.journal)
        finally:
            process.kill()
            process.wait()

    def health(self) -> dict:
        """What the gateway says of itself to a host in the VPC; nothing while it cannot be asked."""
        url = f"http://{self.plan.openstack.gateway}:{HEALTH_PORT}/healthz"
        return json.loads(self.host.run(sys.executable, "-c", _FETCH, url, check=False, quiet=True).stdout or "{}")

    def ping(self, source: Network, target: str, size: int, *, origin: str | None = None):
        """One packet of `size` bytes with headers, not to be fragmented."""
        return source.run(
            *("ping", "-4", "-n", "-c", "1", "-W", "3", "-M", "do", "-s", str(size - 28)),
            *(("-I", origin) if origin else ()),
            target,
            check=False,
        )

    def fragments(self, network: Network) -> int:
        """Fragments that a network has made so far."""
        names, values = re.findall(r"^Ip: (.+)$", network.run("cat", "/proc/net/snmp", quiet=True).stdout, re.MULTILINE)
        return int(dict(zip(names.split(), values.split(), strict=True))["FragCreates"])

    def _begin(self, stack: ExitStack) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((self.state / "lock").open("w", encoding="utf-8"))
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would lay their files into one folder
        document = user_data(self.appliance)
        if self.plan.tunnel_mtu >= LIBIPSEC_MTU:
            raise UnavailableError(
                f"libipsec reads packets of up to {LIBIPSEC_MTU} bytes, and the plan's are of {self.plan.tunnel_mtu}: "
                "lower openstack.mtu"
            )
        self.root = unpacked(self.state, yaml.safe_load(document)["packages"])
        self.journal = Journal(self.state / "run.log")
        stack.callback(self.journal.close)
        sides = self.state / "sides"
        shutil.rmtree(sides, ignore_errors=True)
        logs = self.state / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        write_gateway(self.appliance, document, sides / "gateway", logs)
        write_aws(self.appliance, sides / "aws", logs)
        asn, gateway = self.plan.openstack.asn, self.plan.openstack.gateway
        write_frr(
            sides / "node",
            [
                f"router bgp {asn}",
                f" bgp router-id {self.node_address}",
                f" neighbor {gateway} remote-as {asn}",
                f" neighbor {gateway} timers connect 5",
                " address-family ipv4 unicast",
                f"  network {self.pods}",
                " exit-address-family",
            ],
        )
        (sides / "user-data").write_text(document, encoding="utf-8")
        self._wire(stack, sides)
        self._start(sides)

    def _wire(self, stack: ExitStack, sides: Path) -> None:
        def machine(name: str, *layers: Path) -> Machine:
            made = Machine(name, self.journal, [*layers, self.root])
            stack.callback(made.close)
            return made

        def side(name: str) -> Side:
            main = machine(name, sides / name)
            ends = (Annex(f"{name}-end-1", main), Annex(f"{name}-end-2", main))
            for end in ends:
                stack.callback(end.close)
            return Side(main, ends)

        self.gateway, self.aws = side("gateway"), side("aws")
        self.node, self.host, self.outside = machine("node", sides / "node"), machine("host"), machine("outside")
        plan, mtu = self.plan.openstack, self.outer_mtu
        cable(self.gateway.machine, "nodes", self.node, "nodes", mtu)
        self.gateway.machine.ip("address", "add", f"{plan.gateway}/{plan.nodes.prefixlen}", "dev", "nodes")
        self.node.ip("address", "add", f"{self.node_address}/{plan.nodes.prefixlen}", "dev", "nodes")
        self.node.ip("address", "add", f"{self.pod_address}/{self.pods.prefixlen}", "dev", "lo")
        self.node.ip("route", "add", str(self.plan.aws.vpc), "via", str(plan.gateway))
        vpc = self.plan.aws.vpc
        cable(self.aws.machine, "vpc", self.host, "vpc", 1500)
        self.aws.machine.ip("address", "add", f"{vpc[1]}/{vpc.prefixlen}", "dev", "vpc")
        self.host.ip("address", "add", f"{self.host_address}/{vpc.prefixlen}", "dev", "vpc")
        self.host.ip("route", "add", "default", "via", str(vpc[1]))
        for end in (self.node, self.host):
            # In one kernel a packet keeps its socket's hash from end to end, and by it a router chooses the path; TCP
            # would draw another after each timeout, and so find the way round by itself. No wire carries that hash.
            end.run("sysctl", "-qw", "net.core.txrehash=0", check=False)  # before Linux 5.18 there is no such choice
        self._wire_outside()

    def _wire_outside(self) -> None:
        """The cloud's router with its floating IP, and the Internet: who comes from tunnel N's far end meets end N."""
        plan, mtu, outside = self.plan.openstack, self.outer_mtu, self.outside
        outside.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        for number, (mine, theirs, address) in enumerate(
            zip(self.gateway.ends, self.aws.ends, OUTSIDE, strict=True), 1
        ):
            cable(outside, f"gateway{number}", mine, "outside", mtu)
            cable(outside, f"aws{number}", theirs, "outside", mtu)
            outside.ip("address", "add", f"{plan.router}/32", "dev", f"gateway{number}")
            outside.ip("address", "add", f"{AWS_ROUTER}/32", "dev", f"aws{number}")
            outside.ip("route", "add", f"{address}/32", "dev", f"aws{number}")
            outside.ip("route", "add", f"{plan.gateway}/32", "dev", f"gateway{number}", "table", f"10{number}")
            outside.ip("rule", "add", "from", address, "lookup", f"10{number}")
            plug(mine, f"{plan.gateway}/{plan.nodes.prefixlen}", str(plan.router))
            plug(theirs, f"{address}/24", AWS_ROUTER)
        facts = {"floating": FLOATING_IP, "gateway": plan.gateway, "mtu": mtu, "largest": self.largest_outer}
        sides = self.state / "sides"
        filters.load(outside, filters.OUTSIDE.format(first=OUTSIDE[0], second=OUTSIDE[1], **facts), sides)
        for network in (self.host, self.node):
            filters.load(network, filters.ENDS.format(clamped=self.plan.mss, port=FLOWS_PORT), sides)

    def _start(self, sides: Path) -> None:
        """In the order in which the document's `runcmd` starts it; only the devices have to be there before the rest."""
        layers = [sides / "gateway", self.root]
        machine, python = self.gateway.machine, sys.executable
        machine.run("sysctl", "-p", "/etc/sysctl.d/90-isthmus.conf")
        for network in (machine, *self.gateway.ends):
            network.run("nft", "-f", "/etc/nftables.conf")
        machine.spawn(python, vault.__file__, str(VAULT_PORT))
        self.aws.machine.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.fib_multipath_hash_policy=1")
        for side in (self.gateway, self.aws):
            side.start_ipsec()
        for key, command in commands("isthmus-tunnels", layers):
            if key == "ExecStart" and command[:3] != ["ip", "link", "add"]:
                machine.run(*command)
        for tunnel in self.appliance.tunnels:
            self.aws.machine.ip("address", "add", f"{tunnel['aws']}/{tunnel['prefix']}", "dev", tunnel["interface"])
            self.aws.machine.ip("link", "set", tunnel["interface"], "mtu", str(self.plan.tunnel_mtu), "up")
        self.journal.until("the vault answers", lambda: _listens(machine, VAULT_PORT), 20)
        start(machine, "isthmus-keys", layers)
        for side in (self.gateway, self.aws):
            side.load_ipsec()
        start(machine, "frr", layers)
        start(self.aws.machine, "frr", [sides / "aws", self.root])
        start(self.node, "frr", [sides / "node", self.root])
        start(machine, "isthmus-collect", layers)
        start(machine, "isthmus-health", layers)
        self.host.spawn(python, flows.__file__, "serve", str(FLOWS_PORT))
        self.journal.until("the far host listens", lambda: _listens(self.host, FLOWS_PORT), 20)


def _listens(network: Network, port: int) -> bool:
    return f":{port} " in network.run("ss", "-Hltn", quiet=True).stdout


_FETCH = """
import http.client, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
connection.request("GET", url.path)
print(connection.getresponse().read().decode())
"""
