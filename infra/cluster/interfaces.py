"""Network interfaces of nodes with EFA. Pure."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Interface:
    """One interface of a launch template, by network card and by place on it."""

    card: int
    device: int
    kind: Literal["interface", "efa", "efa-only"]

    @property
    def has_address(self) -> bool:
        """Whether it carries IP beside EFA's own packets."""
        return self.kind != "efa-only"


def efa_layout(interfaces: int) -> tuple[Interface, ...]:
    """The layout for a type with that many EFA interfaces, one a network card.

    Of several cards, the first carries a plain interface with an EFA beside it and each other an EFA alone: those take
    no addresses of the subnet. The primary interface cannot be an EFA alone. From the EC2 user guide, "Maximize network
    bandwidth on instances with multiple network cards", and the EKS user guide, "Manage EFA devices".

    Raises:
        ValueError: there is none.
    """
    if interfaces < 1:
        raise ValueError(f"{interfaces} EFA interfaces make no layout; it takes one at least")
    if interfaces == 1:
        return (Interface(0, 0, "efa"),)
    return (
        Interface(0, 0, "interface"),
        Interface(0, 1, "efa-only"),
        *(Interface(card, 0, "efa-only") for card in range(1, interfaces)),
    )
