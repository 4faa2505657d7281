"""`python -m tests.lab.images build [NAME...]`: the images that are not up to date, all or those named."""

import sys

from tests.lab.daemons import LabError
from tests.lab.images import build

match sys.argv[1:]:
    case ["build", *names]:
        try:
            build(names or None)
        except LabError as error:
            sys.exit(f"error: {error}")
    case other:
        sys.exit(f"error: {' '.join(other) or 'nothing'!r} is not understood; say: build [NAME...]")
