"""What runs in the control plane's own environment, where the services are installed and the project's packages are not."""

import threading

TURN = threading.Lock()
"""Held by whoever works on a service's database, in a service that takes requests one at a time."""
