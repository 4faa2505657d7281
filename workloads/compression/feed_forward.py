"""Where a model's hidden units are: pairs of linear layers, found by how modules are built rather than by their names."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class FeedForward:
    """`contracting(act(expanding(x)))`, or gated: `contracting(act(gate(x)) * up(x))`. All have the same hidden units."""

    expanding: tuple[nn.Linear, ...]  # weights [units, inputs]
    contracting: nn.Linear  # weights [outputs, units]

    @property
    def units(self) -> int:
        """Number of hidden units."""
        return self.contracting.in_features

    def magnitudes(self) -> Tensor:
        """L2 norm [units] over all weights that write or read a unit."""
        squares = self.contracting.weight.detach().square().sum(dim=0)
        for layer in self.expanding:
            squares = squares + layer.weight.detach().square().sum(dim=1)
            if layer.bias is not None:
                squares = squares + layer.bias.detach().square()
        return squares.sqrt()


def feed_forwards(model: nn.Module) -> list[FeedForward]:
    """The feed-forward part of each repeated block, or of the whole model where nothing is repeated.

    A block's is the one or two linear layers outside its attention that widen to what the next, its last one, narrows.
    """
    blocks = [block for module in model.modules() if isinstance(module, nn.ModuleList) for block in module]
    found = [_feed_forward(list(_outside_attention(block))) for block in blocks]
    whole = [] if blocks else [_feed_forward([layer for layer in model.modules() if isinstance(layer, nn.Linear)])]
    return [pair for pair in [*found, *whole] if pair is not None]


def _feed_forward(layers: list[nn.Linear]) -> FeedForward | None:
    if len(layers) not in {2, 3}:
        return None
    *expanding, contracting = layers
    widths = {(layer.in_features, layer.out_features) for layer in expanding}
    if len(widths) != 1 or expanding[0].out_features != contracting.in_features:
        return None
    return FeedForward(tuple(expanding), contracting)


def _outside_attention(module: nn.Module) -> Iterator[nn.Linear]:
    if isinstance(module, nn.Linear):
        yield module
    elif "attention" not in type(module).__name__.lower():
        for child in module.children():
            yield from _outside_attention(child)
