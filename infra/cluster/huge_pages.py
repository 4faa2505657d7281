"""Huge pages, from which EFA's user space takes its buffers: what a node keeps for them, and what a pod asks for. Pure.

They are a resource of their own. What a node keeps is gone from its memory, asked for or not, and a pod that asks for
more of them than there are waits for ever: https://kubernetes.io/docs/tasks/manage-hugepages/scheduling-hugepages/
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

_PAGE_MIB: Final = 2
_PAGES: Final = 5128

KEPT_MIB: Final = _PAGES * _PAGE_MIB
"""Of a node's memory: EFA's installer sets so many aside, https://docs.aws.amazon.com/eks/latest/userguide/node-efa.html."""

ASKED: Final[Mapping[str, str]] = {"hugepages-2Mi": "5120Mi"}
"""By a pod that has a node's EFA to itself, as in the samples of that page."""

_FILE = "/etc/sysctl.d/90-isthmus-efa.conf"
_BOUNDARY = "isthmus-huge-pages"


def user_data() -> str:
    """A launch template's user data: the pages are there before kubelet counts them, whatever image the node has.

    EKS adds a part of its own to those of a MIME document, and nodeadm starts kubelet after cloud-init has run this one:
    https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html#launch-template-user-data,
    https://github.com/awslabs/amazon-eks-ami, nodeadm-run.service.
    """
    script = f"#!/bin/bash\nset -e\necho 'vm.nr_hugepages = {_PAGES}' >{_FILE}\nsysctl --load={_FILE}\n"
    document = (
        "MIME-Version: 1.0\n"
        f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"\n\n'
        f"--{_BOUNDARY}\n"
        'Content-Type: text/x-shellscript; charset="us-ascii"\n\n'
        f"{script}\n"
        f"--{_BOUNDARY}--\n"
    )
    return b64encode(document.encode()).decode()
