"""The automaton beside the network: which token may come next.

State is one row of integers an item, so that it can be selected, compacted and later stepped inside a GPU kernel; the
automaton itself is integer tables on the same device. Nothing here knows what the tokens mean.

    B  batch    S  state words    V  vocabulary
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PAD, BOS, EOS = 0, 1, 2
SPECIALS = ("<pad>", "<bos>", "<eos>")  # the first entries of every vocabulary


class Constraint(Protocol):
    """A machine that reads tokens and says which ones keep the sequence completable.

    On a GPU, ``allowed`` and ``advance`` are recorded into a graph: they may not wait for what the device computes, nor
    copy anything to it after their first call. Constraints that compare equal stand in for one another there.
    """

    def start(self, rows: int, device: torch.device) -> Tensor:
        """``[B, S]`` int32: the state after ``<bos>``."""
        ...

    def allowed(self, state: Tensor, remaining: int | Tensor) -> Tensor:
        """``[B, V]`` bool: tokens after which a valid end can still be reached.

        ``remaining`` tokens may still be written, ``<eos>`` among them; ``[B]`` integers where rows stand at different
        places. At least one token is allowed in every state that was itself reached by allowed tokens.
        """
        ...

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        """``[B, S]``: the state after one token ``[B]`` each; any state after a token that was not allowed."""
        ...
