"""What a model is made of, as far as those must know who spread or optimise it."""

from typing import Any, cast

from torch import Tensor, nn


class Absent(nn.Module):
    """In place of what is in another stage: hands its input on."""

    def forward(self, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        """`hidden` as it is."""
        return hidden


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The repeated blocks of `model` by name, in order: the heaviest list of modules of one class; empty without one.

    Of a stage it is those that are present.
    """
    best, most = {}, 0
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            present = {f"{name}.{i}": block for i, block in enumerate(module) if not isinstance(block, Absent)}
            weight = sum(parameter.numel() for parameter in module.parameters())
            if len({type(block) for block in present.values()}) == 1 and weight > most:
                best, most = present, weight
    return best


def hidden_matrices(model: nn.Module) -> frozenset[str]:
    """Names of the matrices between embeddings and head, which neither belong to: what Muon is made for.

    The head is what `transformers` builds upon its base model; of a plain network it is the last linear layer.
    """
    base: nn.Module = getattr(model, "base_model", model)
    if base is model:
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        apart: set[nn.Module] = set(linear[-1:])
    else:
        inside = set(base.modules())
        apart = {module for module in model.modules() if module not in inside and module is not model}
    apart |= {module for module in model.modules() if isinstance(module, nn.Embedding)}
    others = {parameter for module in apart for parameter in module.parameters(recurse=False)}
    return frozenset(name for name, p in model.named_parameters() if p.ndim == 2 and p not in others)


def aliases(model: nn.Module) -> dict[str, str]:
    """Second names of tied parameters, each with the first."""
    first: dict[nn.Parameter, str] = {}
    names = model.named_parameters(remove_duplicate=False)
    return {name: first[parameter] for name, parameter in names if first.setdefault(parameter, name) != name}


def heads(model: nn.Module) -> tuple[int, ...]:
    """Numbers of attention heads (of queries, and of keys and values) that `model` is configured with."""
    config = cast("Any", getattr(model, "config", None))
    numbers = (getattr(config, key, None) for key in ("num_attention_heads", "num_key_value_heads"))
    return tuple(number for number in numbers if number)
