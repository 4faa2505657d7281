"""The platform inside the cluster: namespaces behind fences, certificates, and the mesh of what serves."""
