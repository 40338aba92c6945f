"""Decoding with a cache: a batch of rows that starts together, shrinks as rows end, and forgets nothing.

B  rows at the start    R  rows still in the batch    V  vocabulary    P  properties
G  key-value heads      K  head width                 L  length of the longest result
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genesis import rng
from genesis.decoding.constraint import BOS, EOS, PAD, Constraint
from genesis.decoding.net import SAFE, Net, Weights
from genesis.decoding.sampling import NEVER, Rules, draw
from genesis.models.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out: row ``i`` is ``tokens[i, :length[i]]``, without ``<bos>`` and ``<eos>``."""

    tokens: Tensor  # [B, L] int64, padded with <pad>
    length: Tensor  # [B]
    ended: Tensor  # [B] bool: <eos> was drawn before the room ran out, and every logit was finite
    log_prob: Tensor  # [B] float32: nats of the sequence under the model at temperature 1, without rules or constraint
    log_mass: Tensor | None = None  # [B] float32, nats: what the constraint left of the probability, step after step

    def cpu(self) -> Decoded:
        """The same in the host's memory."""
        mass = None if self.log_mass is None else self.log_mass.cpu()
        return Decoded(self.tokens.cpu(), self.length.cpu(), self.ended.cpu(), self.log_prob.cpu(), mass)

    def split(self, rows: int) -> list[Decoded]:
        """Parts of so many rows, in the host's memory, each with storage of its own."""
        here = self.cpu()
        parts = zip(*(t.split(rows) for t in (here.tokens, here.length, here.ended, here.log_prob)), strict=True)
        return [Decoded(*(t.clone() for t in part)) for part in parts]


class Decoder:
    """A transformer made ready for decoding: weights in the device's fast precision, conditions kept in float32."""

    def __init__(self, model: Transformer, vocab: int, dtype: torch.dtype | None = None) -> None:
        self.model = model
        self.vocab = vocab
        self.device = model.embed.weight.device
        self.dtype = dtype or fast_dtype(self.device)
        self.weights = Weights(model, self.dtype)

    @property
    def fewest(self) -> int:
        """Rows that a batch is never smaller than."""
        return self.weights.fewest

    def net(self, values: Tensor, rows: int) -> Net:
        """The network, ready for a batch of so many rows."""
        return Net(self.weights, values, rows)

    @torch.inference_mode()
    def decode(
        self,
        values: Tensor | Sequence[tuple[float, Tensor]],
        items: Tensor,
        seed: int,
        rules: Rules,
        constraint: Constraint | None = None,
        guidance: float = 1.0,
        shared: bool = False,
        prefix: Tensor | None = None,
        weigh: bool = False,
    ) -> Decoded:
        """Draw one sequence for each row of ``values [B, P]`` and item index ``items [B]``.

        ``shared``: all rows of the request hold the same values, which are then folded into the weights. The two ways
        round differently, so that a request which is decoded in several batches keeps to one of them.

        Several sets of values with their shares are mixed as ``sum_k share_k logits_k``, a product of experts (Hinton
        2002): what is drawn is likely under each of them.

        ``guidance`` w combines the conditional and the unconditional logits as ``u + w (c - u)`` (Ho and Salimans
        2022); 1 is the plain conditional model.

        ``prefix [B, L, D]`` is read before ``<bos>``, such as a latent of each row.

        ``weigh``: sum up ``log_mass`` at the temperature of the draw. A constraint that forces tokens makes sequences
        likely that the model is not inclined to; those drawn with ``exp(log_mass)`` as their weight are the model's own
        that obey (importance sampling, as in Lew et al. 2023).
        """
        asked, room = len(items), self.model.config.max_length
        B = bucket(asked, self.fewest)
        fill = torch.arange(B) % asked  # rows beyond those asked for are copies, closed from the start
        given = [(1.0, values)] if isinstance(values, Tensor) else list(values)
        sets = [(guidance * share, one[fill].to(self.device)) for share, one in given]
        if guidance != 1.0:
            sets.append((1 - guidance, torch.full_like(sets[0][1], float("nan"))))
        several = len(sets)
        items = items[fill].to(self.device)
        out = torch.full((B, room), PAD, dtype=torch.int64, device=self.device)
        length = torch.zeros(B, dtype=torch.int64, device=self.device)
        ended = torch.zeros(B, dtype=torch.bool, device=self.device)
        log_prob = torch.zeros(B, device=self.device)
        log_mass = torch.zeros(B, device=self.device) if weigh else None
        if several > 1:
            net = self.net(torch.cat([one for _, one in sets]), several * B)
        else:
            net = self.net(sets[0][1][:1] if shared else sets[0][1], B)
        if prefix is not None:
            net.read(prefix.to(self.device)[fill].repeat(several, 1, 1))
        state = constraint.start(B, self.device) if constraint else None
        words = rng.token_words(seed, items, room)
        rows = torch.arange(B, device=self.device)  # where each row of the shrinking batch stands in the results
        is_open = rows < asked
        token = torch.full_like(rows, BOS)
        for step in range(room):
            logits = net.step(token.repeat(several), step)[:, : self.vocab]
            if several > 1:
                parts = logits.chunk(several)
                logits = sets[0][0] * parts[0]
                for (share, _), part in zip(sets[1:], parts[1:], strict=True):
                    logits = logits + share * part
                logits[:, [PAD, BOS]] = NEVER  # infinity less infinity
            normaliser = logits.logsumexp(-1)
            finite = normaliser.isfinite()  # one NaN or infinity in a row shows in its sum
            allowed = logits
            if constraint is not None and state is not None:
                allowed = logits.masked_fill(~constraint.allowed(state, room - step), NEVER)
            noise = rng.spread(words[:, step], self.vocab) if rules.temperature > 0 else None
            token = draw(allowed, noise, rules)
            gain = logits.gather(-1, token[:, None])[:, 0] - normaliser
            log_prob[rows] += torch.where(is_open, gain, 0)
            if log_mass is not None:
                left, total = ((x / (rules.temperature or 1)).logsumexp(-1) for x in (allowed, logits))
                log_mass[rows] += torch.where(is_open, left - total, 0)
            stops = is_open & ((token == EOS) | ~finite)
            is_open &= ~stops
            out[rows, step] = torch.where(is_open, token, PAD)
            length[rows] += is_open
            ended[rows] |= stops & finite
            count = int(is_open.sum())
            if count == 0 or step == room - 1:
                break
            if constraint is not None and state is not None:
                state = constraint.advance(state, token)
            size = bucket(count, self.fewest)
            if size < len(rows):  # closed rows ride along until the next smaller size will do
                chosen = is_open.to(torch.int8).argsort(descending=True, stable=True)[:size].sort().values
                net.select(torch.cat([chosen + k * len(rows) for k in range(several)]))
                rows, words, token, is_open = rows[chosen], words[chosen], token[chosen], is_open[chosen]
                state = state[chosen] if state is not None else None
        longest = max(1, int(length.max()))
        mass = None if log_mass is None else log_mass[:asked]
        return Decoded(out[:asked, :longest], length[:asked], ended[:asked], log_prob[:asked], mass)


def bucket(rows: int, fewest: int = SAFE) -> int:
    """The smallest of 4, 8, 16, 24, 32, 48, ... that holds so many rows and is no smaller than ``fewest``.

    A matrix product is set up anew for each number of rows it has not met, which costs more than the rows saved.
    """
    size = fewest
    while size < rows:
        size = size * 2 if size < SAFE else size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32.

    On a CPU with AVX-512 bf16 the layers of the small decoder run 4.2 times as fast as in float32; without the
    instructions bf16 is emulated and slower.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if device.type == "cpu" and native else torch.float32
