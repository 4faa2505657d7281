"""An OpenStack control plane on loopback: Keystone, Glance, Placement, Nova, Neutron, Barbican and Swift as they are.

What is real: each service's API, database, policies and life cycles. What is not: Nova's compute driver is its own
fake, Neutron's agents are `inside.agents`, so no packet flows and no machine boots; databases are SQLite, and services
are one process each without a broker.
"""
