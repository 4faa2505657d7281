"""The comment that a pull request gets, for a change of the lab's stack, from a real preview of it."""

from pathlib import Path
from typing import Final

from infra.operations.previewing import cost_difference, run_preview
from infra.operations.previews import Preview
from infra.operations.pull_request import combined
from infra.operations.review import review
from tests.lab.engine import NAME, Stack

CHANGE: Final = ("sites.1.openstack.gateway.admin_networks=[192.0.2.0/24]", "cloud.serving.replicas.max=1")
"""Who may administer the gateway, which makes another server of it, and how many replicas a site may have."""


def comment(stack: Stack, folder: Path) -> tuple[Preview, str]:
    """What was previewed, and the comment, which is left in `folder` with the engine's whole stream."""
    log = folder / "preview.log"
    made = run_preview(stack.session, log)
    text = combined({NAME: review(NAME, made, cost_difference(made, stack.session.settings), log.name)}, log.name)
    (folder / "comment.md").write_text(text, encoding="utf-8")
    return made, text
