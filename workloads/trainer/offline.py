"""No model and no data set ever comes from the Hub: what a recipe names lies in a folder or at an address."""

import os
import sys

_SWITCHES = (
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_HUB_DISABLE_PROGRESS_BARS",
)


def stay_offline() -> None:
    """Tell the libraries of Hugging Face, loaded already or not, to leave the network alone."""
    for switch in _SWITCHES:
        os.environ[switch] = "1"
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:
        hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]  # read from the environment once, when it is loaded
    datasets = sys.modules.get("datasets.config")
    if datasets is not None:
        datasets.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
