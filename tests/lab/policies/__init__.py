"""NetworkPolicies of networking.k8s.io/v1, enforced on one node of the lab: a stand-in for what Cilium does there."""
