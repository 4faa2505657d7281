"""The Kubernetes cluster over both clouds: control plane, nodes with GPUs at each site, and its controllers."""
