"""`python -m infra.operations`: the same as `isthmus`."""

from infra.operations.cli import main

main()
