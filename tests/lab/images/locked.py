"""Lock files without what a machine without GPUs has no use for. Pure."""

import re

GPU_ONLY = re.compile(r"(nvidia-|cuda-|triton$)")
"""Names of packages that hold CUDA's libraries and compilers, or Python's way to them. torch loads without them as long as
libraries of their names are found."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def without(lock: str, unwanted: re.Pattern[str]) -> str:
    """A lock file of pip's kind less the packages whose names match, with their hashes and comments. The rest stays.

    >>> without("a==1 \\\\\\n    --hash=sha256:00\\ntriton==3 \\\\\\n    --hash=sha256:11\\n", GPU_ONLY)
    'a==1 \\\\\\n    --hash=sha256:00\\n'
    """
    kept, keep = [], True
    for line in lock.splitlines(keepends=True):
        if name := _NAME.match(line):  # further lines of a package are indented
            keep = unwanted.match(name.group().lower()) is None
        if keep:
            kept.append(line)
    return "".join(kept)
