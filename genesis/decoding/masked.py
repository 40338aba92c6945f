"""Unmasking: a sequence of masks is filled in a few looks, the surest tokens first.

B  rows    T  positions    V  vocabulary    P  properties    S  steps
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from genesis import rng
from genesis.decoding.constraint import PAD, Constraint
from genesis.decoding.loop import Decoded, bucket
from genesis.decoding.sampling import NEVER, Rules, draw
from genesis.errors import UsageError, suggest
from genesis.models.masked import MaskedDiffusion

ORDERS = ("confidence", "random")


class MaskedDecoder:
    """A masked diffusion model made ready for drawing.

    ``rules.sampler`` is the order of filling: "confidence" takes the tokens that the network gives the highest
    probability (Chang et al. 2022, MaskGIT), "random" any, which is the model's own distribution where ``rules.steps``
    is the length or more. By default one token is filled at each look.
    """

    def __init__(self, model: MaskedDiffusion, vocab: int) -> None:
        self.model, self.vocab = model, vocab
        self.device = model.embed.weight.device

    @torch.inference_mode()
    def decode(
        self,
        values: Tensor,
        items: Tensor,
        seed: int,
        rules: Rules,
        constraint: Constraint | None = None,
        guidance: float = 1.0,
        shared: bool = False,
    ) -> Decoded:
        """Draw one sequence for each row of ``values [B, P]`` and item index ``items [B]``: first its length."""
        assert constraint is None, "an automaton reads from left to right, and this model does not write so"
        asked = len(items)
        fill = torch.arange(bucket(asked)) % asked
        values, items = values[fill].to(self.device), items[fill].to(self.device)
        room = self.model.config.max_length
        of_length = self.model.lengths(values)
        length = (of_length + rng.spread(rng.token_words(seed, items, room + 1)[:, room], room + 1)).argmax(-1)
        inside = torch.arange(room, device=self.device) < length[:, None]
        start = torch.where(inside, self.model.mask, PAD)
        tokens, nats = self.fill(start, length, values, items, seed, rules, guidance)
        log_prob = of_length.gather(1, length[:, None])[:, 0] - nats
        longest = max(1, int(length[:asked].max()))
        ended = log_prob.isfinite() & (length > 0)
        return Decoded(tokens[:asked, :longest], length[:asked], ended[:asked], log_prob[:asked])

    def complete(
        self,
        templates: Sequence[Sequence[int]],
        values: Tensor,
        items: Tensor,
        seed: int,
        rules: Rules,
        guidance: float,
    ) -> Decoded:
        """Sequences of which a part is given: negative tokens are open, and are filled in."""
        asked, room = len(items), self.model.config.max_length
        longest = max(map(len, templates))
        if longest > room:
            raise UsageError(f"a sequence of {longest:,} tokens; this model has room for {room:,}. Shorten it")
        fill = torch.arange(bucket(asked)) % asked
        rows = pad_sequence([torch.tensor(row) for row in templates], batch_first=True, padding_value=PAD)
        length = torch.tensor([len(row) for row in templates])[fill].to(self.device)
        start = torch.where(rows < 0, self.model.mask, rows)[fill].to(self.device)
        values, items = values[fill].to(self.device), items[fill].to(self.device)
        tokens, nats = self.fill(start, length, values, items, seed, rules, guidance)
        return Decoded(tokens[:asked], length[:asked], nats[:asked].isfinite(), -nats[:asked])

    @torch.inference_mode()
    def fill(
        self, tokens: Tensor, length: Tensor, values: Tensor, items: Tensor, seed: int, rules: Rules, guidance: float
    ) -> tuple[Tensor, Tensor]:
        """``tokens [B, T]`` with every mask replaced, and the nats ``[B]`` of what was filled in; the rest stays.

        Each position has its noise once, so what it draws does not depend on the look at which it is drawn.
        """
        name = rules.sampler or ORDERS[0]
        if name not in ORDERS:
            raise UsageError(f"no order of unmasking {name!r}; {suggest(name, ORDERS)}")
        B, T = tokens.shape
        masked = tokens == self.model.mask
        holes = masked.sum(1)
        steps = rules.steps or int(holes.max())
        words = rng.token_words(seed, items, T)
        noise = torch.stack([rng.spread(words[:, place], self.vocab) for place in range(T)], 1)
        by_chance = rng.normal(seed, items, 0, T, rng.STREAM_GIVEN)
        absent = torch.full_like(values, float("nan"))
        nats = torch.zeros(B, device=self.device)
        for step in range(steps):
            left = (holes * (steps - 1 - step)) // steps  # masks that stay after this look
            logits = self.model(tokens, length, values)[..., : self.vocab]
            if guidance != 1:
                free = self.model(tokens, length, absent)[..., : self.vocab]
                logits = (free + guidance * (logits - free)).nan_to_num(NEVER, posinf=NEVER, neginf=NEVER)
            log_p = logits.log_softmax(-1)
            drawn = draw(logits.flatten(0, 1), noise.flatten(0, 1), rules).view(B, T)
            gain = log_p.gather(-1, drawn[..., None])[..., 0]
            rank = (by_chance if name == "random" else gain).masked_fill(~masked, NEVER)
            order = rank.argsort(stable=True, dim=-1, descending=True).argsort(-1)  # 0: the first to be filled
            now = masked & (order < (masked.sum(1) - left)[:, None])
            tokens = torch.where(now, drawn, tokens)
            nats -= torch.where(now, gain, 0).sum(1)
            masked &= ~now
        return tokens, nats
