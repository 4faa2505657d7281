"""A Kubernetes provider for the lab, in the place of pulumi-kubernetes at the version whose SDK is installed.

What is as there: objects are applied by the API server (server-side apply), named and awaited as its documentation
says, replaced for the fields that it lists, created only where none of that name is, and known to the engine when they
are there but do not become ready. `pulumi.com/` annotations: `skipAwait`, `timeoutSeconds`, `waitFor`, `patchForce`,
`deletionPropagationPolicy`, `autonamed`.

What is not: charts, YAML files, functions and patches are refused, and so is any API server but the lab's. Every object
has the same field manager. A field that the API does not know is an error and no warning. A change that the API refuses
because a field is immutable is a replacement, for every kind. A field that the program had set and somebody else has
changed since is taken back. Every deletion is waited for. A preview shows no value that the server would draw.
"""
