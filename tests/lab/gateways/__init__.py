"""The rendered gateway and a stand-in for AWS's two ends, brought up in network namespaces from Debian's packages.

What runs as it is rendered: the cloud-config's files, laid where it says with the owners and modes that it says;
nftables, FRR with its daemons' file, strongSwan's connections and options, the sysctls, the units that fetch keys,
collect and tell the state. Packages are those that the document names, without what they recommend.

What stands in for what is not here:

- IPsec in the kernel, and its `xfrm` interfaces, are libipsec (kernel-libipsec) and TUN devices, which take the names,
  addresses and MTU of the rendered unit. libipsec has one device a process and knows no `if_id`, so that each end of a
  tunnel has a strongSwan and a network of its own, with the gateway's one address and its one packet filter; `swanctl`
  on the gateway asks both. IKE, keys, suites, ESP in UDP, its sizes, and which tunnel a route chooses are real; that
  Linux joins policies to interfaces by `if_id` is not shown. libipsec reads packets of up to 1400 bytes, so that the
  plan has to be of a network of up to 1463.
- AWS's ends are strongSwan and FRR with the suite, addresses and AS number that the plan gives AWS. How AWS's own
  implementation behaves is not shown.
- Keystone and Barbican are a few lines on loopback; the floating IP is NAT on the way; a node's Cilium is FRR.
- systemd is a reader of `ExecStart`; its sandboxes and restarts are not shown, and cloud-init checks its document but
  does not run it.
"""

from tests.lab.gateways.lab import Lab
from tests.lab.gateways.packages import UnavailableError, look_around

__all__ = ["Lab", "UnavailableError", "look_around"]
