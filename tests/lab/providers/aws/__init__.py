"""A stand-in for Pulumi's AWS provider: the types that the program declares, by boto3 against the lab's emulators.

A test double. Green here says that the program's wiring, names, tags, order and choice between update and replacement
hold under real, signed calls of AWS's interfaces. It says nothing of the official provider's own checks and defaults.
What the emulators lack is in `lacks.LACKS`.
"""
