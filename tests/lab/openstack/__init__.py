"""An OpenStack control plane on loopback: Keystone, Glance, Placement, Nova, Neutron, Barbican, Octavia and Swift.

What is real: each service's API, database, policies and life cycles. What is not: Nova's compute driver is its own
fake, Neutron's agents are `inside.agents` and Octavia's amphorae `inside.balancers`, so no packet flows, no machine
boots and no load balancer listens; databases are SQLite, and services are one process each without a broker.
"""
