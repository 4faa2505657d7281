"""Emulators of AWS's interfaces on loopback: moto for EC2, whose transit gateways it alone has, MiniStack for the rest.

What is real: the wire protocols, as boto3 speaks them, and the objects with their names, tags and references as far as
an emulator checks them. What is not: whatever stands behind the objects, and most of AWS's own checks. What neither has
is listed by `python -m tests.lab.aws lacks`. S3 is the one service here that does its work: objects are stored.
"""
