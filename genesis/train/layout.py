"""How the tensors of a model lie on the devices of a group: repeated on each, or spread over them (FSDP2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch.distributed as dist
from torch import Tensor, nn

from genesis.train.group import Group

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


class Repeated:
    """Every device holds all of every tensor; gradients are averaged (DDP)."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def place(self, objective: nn.Module) -> nn.Module:
        """Give the parameters this layout; the module whose gradients are those of the whole group."""
        return nn.parallel.DistributedDataParallel(objective) if self.group.world > 1 else objective

    def local(self, x: Tensor) -> Tensor:
        """What this process holds of a tensor that has this layout."""
        return x

    def full(self, x: Tensor) -> Tensor:
        """The whole of it; all processes must ask."""
        return x.detach()

    def like(self, x: Tensor, p: Tensor) -> Tensor:
        """A new tensor with the layout and on the device of ``p``, from a whole one on the CPU."""
        return x.clone().to(p.device)


class Sharded(Repeated):
    """Every device holds an equal part of the rows; the whole exists while a forward or backward pass needs it.

    Its libraries are imported when it is used: they take longer than all others together.
    """

    def place(self, objective: nn.Module) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        for p in objective.parameters():
            dist.broadcast(p.detach(), 0)
        mesh = init_device_mesh(self.group.device.type, (self.group.world,))
        fully_shard(objective, mesh=mesh, reshard_after_forward=True)
        return objective

    def local(self, x: Tensor) -> Tensor:
        return cast("DTensor", x).to_local()

    def full(self, x: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        return x.full_tensor().detach() if isinstance(x, DTensor) else x.detach()

    def like(self, x: Tensor, p: Tensor) -> Tensor:
        from torch.distributed.tensor import distribute_tensor

        own = cast("DTensor", p)
        return distribute_tensor(x.to(p.device), own.device_mesh, own.placements, src_data_rank=None)
