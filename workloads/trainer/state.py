"""The tensors that a site's training is made of, to and from one flat mapping."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_PARAMETERS = "parameters"
_RANDOM = "random"


def flatten(model: nn.Module) -> Tensor:
    """All parameters of `model`, a tied one once, as one vector [P] on the CPU that shares no memory with them."""
    with torch.no_grad():
        return torch.cat([parameter.detach().reshape(-1).cpu() for parameter in model.parameters()])


def unflatten(model: nn.Module, vector: Tensor) -> None:
    """Set the parameters of `model` to `vector` [P], the reverse of `flatten`."""
    parameters = list(model.parameters())
    with torch.no_grad():
        for parameter, part in zip(parameters, torch.split(vector, [p.numel() for p in parameters]), strict=True):
            parameter.copy_(part.view_as(parameter))


def random_state(device: torch.device) -> Tensor:
    """State of torch's generator on `device`, uint8 [bytes] on the CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def capture(model: nn.Module, optimizer: Optimizer, random: Tensor, outer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything to go on from: `random` uint8 [ranks, bytes], `outer` the state of the merge between sites."""
    tensors = {_PARAMETERS: flatten(model), _RANDOM: random}
    tensors |= {f"buffer.{name}": buffer for name, buffer in model.named_buffers()}
    tensors |= {f"outer.{name}": tensor for name, tensor in outer.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    return tensors


def restore(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizer: Optimizer, device: torch.device, rank: int
) -> dict[str, Tensor]:
    """Bring `model`, `optimizer` and this rank's generator to a captured state; returns the captured `outer`."""
    unflatten(model, tensors[_PARAMETERS])
    for name, buffer in model.named_buffers():
        buffer.copy_(tensors[f"buffer.{name}"])
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            moments.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    random = tensors[_RANDOM][rank]
    if device.type == "cuda":
        torch.cuda.set_rng_state(random, device)
    else:
        torch.set_rng_state(random)
    return {key.removeprefix("outer."): tensor for key, tensor in tensors.items() if key.startswith("outer.")}
