"""The same network behind Hugging Face's ``generate``: the opponent of the figures of items a second.

Weights, blocks and attention are ours; the loop, the cache and the sampling are theirs, so that the ratio measures the
loop and nothing else. The faster of float32 and bfloat16, and the faster of two batch sizes, stands for it.

    python benchmarks/hugging_face.py [--count 4096] [--json]
    python benchmarks/hugging_face.py --model music --count 64 --batch 64

    B  batch    T  new tokens    D  width
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

import genesis
from genesis.decoding.loop import fast_dtype
from genesis.domain import BOS, EOS, PAD
from genesis.models.transformer import Transformer
from genesis.nn.block import QK_EPS
from genesis.ops import modulated_norm, split_heads
from genesis_kernels.reference import attention


class Config(PretrainedConfig):
    model_type = "genesis-decoder"


class Wrapped(PreTrainedModel, GenerationMixin):
    """Our decoder, unconditioned, with the interface that ``generate`` asks for."""

    config_class = Config

    def __init__(self, config: Config, network: Transformer, dtype: torch.dtype) -> None:
        super().__init__(config)
        self.network, self.fast_dtype = network, dtype
        values = torch.full((1, len(network.config.fields)), float("nan"))
        with torch.inference_mode():
            self.modulations, self.gain, self.shift = network.modulations(values)
        network.blocks.to(dtype)
        network.head.to(dtype)

    def forward(
        self,
        input_ids: Tensor,
        cache: DynamicCache | None = None,
        past_key_values: DynamicCache | None = None,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        net, cache = self.network, cache if cache is not None else past_key_values  # its name before transformers 5.24
        assert cache is not None
        start = cache.get_seq_length()
        span = slice(start, start + input_ids.shape[1])
        x = net.embed(input_ids) + net.position.weight[span]
        branch = gate = None
        for layer, (block, m) in enumerate(zip(net.blocks, self.modulations, strict=True)):
            x, y = modulated_norm(x, branch, gate, m.gain_a, m.shift_a)
            heads = split_heads(block.project(y.to(self.fast_dtype)), block.heads, net.cos[span], net.sin[span], QK_EPS)
            q, k, v = (t.transpose(1, 2) for t in heads)
            keys, values = cache.update(k.to(self.fast_dtype), v, layer)
            a = attention(q.to(self.fast_dtype), keys, values, causal=q.shape[2] > 1).transpose(1, 2).flatten(2)
            x, y = modulated_norm(x, block.out(a), m.gate_a, m.gain_f, m.shift_f)
            branch, gate = block.feed_forward(y.to(self.fast_dtype)), m.gate_f
        _, y = modulated_norm(x, branch, gate, self.gain, self.shift)
        return CausalLMOutputWithPast(logits=net.head(y.to(self.fast_dtype)), past_key_values=cache)


def hugging_face(model: str, count: int, batch: int, dtype: torch.dtype) -> dict[str, float]:
    """Items a second of their loop, parse, canonical form and duplicates included."""
    engine = genesis.load(model, "cpu")
    config = Config(vocab_size=engine.model.config.vocab, num_hidden_layers=engine.model.config.depth)
    wrapped = Wrapped(config, engine.model, dtype).eval()
    rules = GenerationConfig(
        do_sample=True,
        top_k=0,
        max_new_tokens=engine.model.config.max_length - 1,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    torch.manual_seed(0)
    wrapped.generate(torch.full((8, 1), BOS), rules)
    began, keys, drawn = time.perf_counter(), set(), 0
    with torch.inference_mode():
        while drawn < count:
            out = wrapped.generate(torch.full((batch, 1), BOS), rules)
            for row in out[:, 1:]:
                ends = (row == EOS).nonzero()
                item = engine.domain.decode(row[: ends[0, 0]]) if len(ends) else None
                if item is not None:
                    keys.add(engine.domain.key(item))
            drawn += batch
    seconds = time.perf_counter() - began
    return {"drawn": drawn, "valid_unique": len(keys), "seconds": seconds, "a_second": len(keys) / seconds}


def ours(model: str, count: int, constrained: bool, workers: int | None) -> dict[str, float]:
    """Items a second of ``generate``, the start of its worker processes included."""
    engine = genesis.load(model, "cpu")
    engine.generate(64, measure=())
    began = time.perf_counter()
    hits = engine.generate(count, constrained=constrained, measure=(), workers=workers)
    seconds = time.perf_counter() - began
    return {"drawn": hits.summary.drawn, "valid_unique": len(hits), "seconds": seconds, "a_second": len(hits) / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="molecules")
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024], help="sizes that theirs may choose from")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {
        f"Hugging Face {str(dtype)[6:]} batch {batch}": hugging_face(arguments.model, arguments.count, batch, dtype)
        for dtype in dict.fromkeys((torch.float32, fast_dtype(torch.device("cpu"))))  # bf16 where the CPU has it
        for batch in arguments.batch
    }
    best = max(row["a_second"] for row in rows.values())
    rows["genesis, no constraint"] = ours(arguments.model, arguments.count, False, None)
    rows["genesis, constraint"] = ours(arguments.model, arguments.count, True, None)
    rows["genesis, constraint, one process"] = ours(arguments.model, arguments.count, True, 1)
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "torch": torch.__version__, "rows": rows}))
        return
    for name, row in rows.items():
        print(f"{name:36} {row['a_second']:7.2f} valid unique items a second   {row['a_second'] / best:5.2f}x")


if __name__ == "__main__":
    main()
