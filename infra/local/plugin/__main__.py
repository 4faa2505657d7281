"""Entry point that the Pulumi engine starts for resources of the package `isthmus`."""

from infra.local.server import main

main()
