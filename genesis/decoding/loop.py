"""Decoding with a cache: a batch of rows that starts together, shrinks as rows end, and forgets nothing.

B  rows at the start    R  rows still in the batch    V  vocabulary    P  properties
G  key-value heads      K  head width                 L  length of the longest result
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from genesis import rng
from genesis.decoding.constraint import BOS, EOS, PAD, Constraint
from genesis.decoding.sampling import NEVER, Rules, draw
from genesis.models.transformer import Transformer
from genesis.nn.block import Block
from genesis.ops import decode_attention, modulated_norm

FEWEST = 8  # rows a batch is never smaller than: matrix products of one to three rows round differently


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out: row ``i`` is ``tokens[i, :length[i]]``, without ``<bos>`` and ``<eos>``."""

    tokens: Tensor  # [B, L] int64, padded with <pad>
    length: Tensor  # [B]
    ended: Tensor  # [B] bool: <eos> was drawn before the room ran out, and every logit was finite
    log_prob: Tensor  # [B] float32: nats of the sequence under the model at temperature 1, without rules or constraint


class Decoder:
    """A transformer made ready for decoding: weights in the device's fast precision, conditions kept in float32."""

    def __init__(self, model: Transformer, vocab: int, dtype: torch.dtype | None = None) -> None:
        self.model = model
        self.vocab = vocab
        self.device = model.embed.weight.device
        self.dtype = dtype or fast_dtype(self.device)
        self.fast = copy.deepcopy(model).eval()
        self.fast.blocks.to(self.dtype)
        self.fast.head.to(self.dtype)

    @torch.inference_mode()
    def decode(
        self,
        values: Tensor,
        items: Tensor,
        seed: int,
        rules: Rules,
        constraint: Constraint | None = None,
        guidance: float = 1.0,
    ) -> Decoded:
        """Draw one sequence for each row of ``values [B, P]`` and item index ``items [B]``.

        ``guidance`` w combines the conditional and the unconditional logits as ``u + w (c - u)`` (Ho and Salimans
        2022); 1 is the plain conditional model.
        """
        asked, room = len(items), self.model.config.max_length
        B = bucket(asked)
        fill = torch.arange(B) % asked  # rows beyond those asked for are copies, closed from the start
        values, items = values[fill].to(self.device), items[fill].to(self.device)
        out = torch.full((B, room), PAD, dtype=torch.int64, device=self.device)
        length = torch.zeros(B, dtype=torch.int64, device=self.device)
        ended = torch.zeros(B, dtype=torch.bool, device=self.device)
        log_prob = torch.zeros(B, device=self.device)
        guided = guidance != 1.0
        net = _Net(self, torch.cat((values, torch.full_like(values, float("nan")))) if guided else values, room)
        state = constraint.start(B, self.device) if constraint else None
        words = rng.token_words(seed, items, room)
        rows = torch.arange(B, device=self.device)  # where each row of the shrinking batch stands in the results
        is_open = rows < asked
        token = torch.full_like(rows, BOS)
        for step in range(room):
            logits = net.step(token.repeat(2) if guided else token, step)[:, : self.vocab]
            if guided:
                conditional, unconditional = logits.chunk(2)
                logits = unconditional + guidance * (conditional - unconditional)
            logits[:, [PAD, BOS]] = NEVER
            normaliser = logits.logsumexp(-1)
            finite = normaliser.isfinite()  # one NaN or infinity in a row shows in its sum
            allowed = logits
            if constraint is not None and state is not None:
                allowed = logits.masked_fill(~constraint.allowed(state, room - step), NEVER)
            noise = rng.spread(words[:, step], self.vocab) if rules.temperature > 0 else None
            token = draw(allowed, noise, rules)
            gain = logits.gather(-1, token[:, None])[:, 0] - normaliser
            log_prob[rows] += torch.where(is_open, gain, 0)
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
            size = bucket(count)
            if size < len(rows):  # closed rows ride along until the next smaller size will do
                chosen = is_open.to(torch.int8).argsort(descending=True, stable=True)[:size].sort().values
                net.select(torch.cat((chosen, chosen + len(rows))) if guided else chosen, step + 1)
                rows, words, token, is_open = rows[chosen], words[chosen], token[chosen], is_open[chosen]
                state = state[chosen] if state is not None else None
        longest = max(1, int(length.max()))
        return Decoded(out[:asked, :longest], length[:asked], ended[:asked], log_prob[:asked])


class _Net:
    """The network's side of one batch: caches and modulations, a row each."""

    def __init__(self, decoder: Decoder, values: Tensor, room: int) -> None:
        self.fast, self.blocks = decoder.fast, cast("list[Block]", list(decoder.fast.blocks))
        dtype, config = decoder.dtype, decoder.model.config
        # rows that are asked for the same share one row of modulations, which the steps then read from the cache
        alike = bool(((values == values[:1]) | (values.isnan() & values[:1].isnan())).all())
        modulations, gain, shift = decoder.model.modulations(values[:FEWEST] if alike else values)
        one = slice(1 if alike else None)
        self.modulations = [m.map(lambda t: t[one, 0]) for m in modulations]  # [R, D]: one position, so no T axis
        self.gain, self.shift, self.dtype = gain[one, 0], shift[one, 0], dtype
        self.account = decoder.model.account  # where nothing numeric is asked, nothing of it enters the stream
        self.asked = decoder.model.conditioner.standardised(values)  # [R, N]
        self.reading = config.reading if not self.asked.isnan().all() else 0
        self.spent = torch.zeros_like(self.asked)
        rows, G, K = len(values), config.kv_heads, config.dim // config.heads
        # float32 on a CPU: the small products of attention gain nothing from bf16 there, and casting costs
        shape, kind = (rows, G, room, K), torch.float32 if values.device.type == "cpu" else dtype
        self.keys = [torch.empty(shape, dtype=kind, device=values.device) for _ in range(config.depth)]
        self.values = [torch.empty(shape, dtype=kind, device=values.device) for _ in range(config.depth)]

    def step(self, token: Tensor, t: int) -> Tensor:
        """``[R, V]`` float32 logits after the token ``[R]`` at position ``t``."""
        x = self.fast.embed(token) + self.fast.position.weight[t]
        cos, sin = self.fast.cos[t : t + 1], self.fast.sin[t : t + 1]
        branch = gate = None
        layers = zip(self.blocks, self.modulations, self.keys, self.values, strict=True)
        for number, (block, m, keys, values) in enumerate(layers):
            if self.account is not None and self.reading and number == self.reading:
                x = x + branch
                self.spent = self.spent + self.account.contributions(x)
                x, branch = x + self.account.enter(self.asked, self.spent), None
            x, y = modulated_norm(x, branch, gate, m.gain_a, m.shift_a)
            q, k, v = block.project(y.to(self.dtype)[:, None], cos, sin)
            a = decode_attention(q[:, 0], k[:, 0], v[:, 0], keys, values, t)
            x, y = modulated_norm(x, block.out(a.to(self.dtype)), m.gate_a, m.gain_f, m.shift_f)
            branch, gate = block.feed_forward(y.to(self.dtype)), m.gate_f
        _, y = modulated_norm(x, branch, gate, self.gain, self.shift)
        logits: Tensor = self.fast.head(y.to(self.dtype)).float()
        return logits

    def select(self, chosen: Tensor, live: int) -> None:
        """Keep only the chosen rows; ``live`` positions of the caches are in use."""
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            self.keys[layer] = keys.new_empty(len(chosen), *keys.shape[1:])
            self.values[layer] = values.new_empty(len(chosen), *values.shape[1:])
            self.keys[layer][:, :, :live] = keys[:, :, :live][chosen]
            self.values[layer][:, :, :live] = values[:, :, :live][chosen]
        self.asked, self.spent = self.asked[chosen], self.spent[chosen]
        if len(self.gain) > 1:
            self.modulations = [m.map(lambda t: t[chosen] if len(t) > 1 else t) for m in self.modulations]
            self.gain, self.shift = self.gain[chosen], self.shift[chosen]


def bucket(rows: int) -> int:
    """The smallest of 8, 12, 16, 24, 32, 48, ... that holds so many rows.

    A matrix product is set up anew for each number of rows it has not met, which costs more than the rows saved.
    """
    size = FEWEST
    while size < rows:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
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
