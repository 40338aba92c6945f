"""Models of other libraries: causal language models of transformers, drawn from by our own loop, and pipelines of
diffusers.

R  rows    V  vocabulary: ours has ``<pad> <bos> <eos>`` first, then the foreign one in its order
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genesis import rng
from genesis.decoding.constraint import EOS, SPECIALS, Constraint
from genesis.decoding.latent import Start
from genesis.decoding.loop import Decoded, Decoder
from genesis.decoding.net import SAFE
from genesis.decoding.sampling import NEVER, Rules
from genesis.errors import UsageError
from genesis.nn.conditioner import ConditionField
from genesis.nn.text import TextField

AT_ONCE = 8  # images that a pipeline makes together


@dataclass(frozen=True, slots=True)
class ForeignConfig:
    """What the engine asks of any model's config."""

    max_length: int
    fields: tuple[ConditionField, ...] = ()


class Causal(nn.Module):
    """A network of transformers that predicts the next token, and which of its tokens begin and end a text."""

    ends: Tensor

    def __init__(self, network: Any, vocab: int, begin: int, ends: Sequence[int], max_length: int) -> None:
        super().__init__()
        self.network, self.vocab, self.begin = network, vocab, begin
        self.register_buffer("ends", torch.tensor(sorted(set(ends))), persistent=False)
        self.config = ForeignConfig(max_length)


class CausalDecoder(Decoder):
    """The loop of :class:`Decoder` over a foreign network."""

    fewest = SAFE  # its products are its own

    def __init__(self, model: Causal) -> None:
        self.foreign = self.model = model  # type: ignore[assignment]
        self.vocab = len(SPECIALS) + model.vocab
        self.device = next(model.parameters()).device

    def net(self, values: Tensor, rows: int) -> Any:
        return _Net(self.foreign)


class _Net:
    """The cache of the rows of one batch."""

    def __init__(self, model: Causal) -> None:
        from transformers import DynamicCache

        self.model, self.cache = model, DynamicCache()
        accepts = inspect.signature(model.network.forward).parameters
        self.named = "cache" if "cache" in accepts else "past_key_values"  # the name that it had before 5.24

    def step(self, token: Tensor, t: int) -> Tensor:
        """``[R, V]`` float32 logits after the token ``[R]``; what ends a text is one token, ``<eos>``."""
        model, first = self.model, len(SPECIALS)
        ids = torch.where(token < first, model.begin, token - first)[:, None]
        said = model.network(input_ids=ids, use_cache=True, **{self.named: self.cache})
        logits: Tensor = said.logits[:, -1, : model.vocab].float()
        out = logits.new_full((len(token), first + model.vocab), NEVER)
        out[:, first:] = logits.index_fill(1, model.ends, NEVER)
        out[:, EOS] = logits[:, model.ends].logsumexp(-1)
        return out

    def select(self, chosen: Tensor) -> None:
        self.cache.batch_select_indices(chosen)


class AnyText(TextField):
    """Words that another library reads."""

    def pieces_of(self, text: str) -> list[int]:
        if not text.split():
            raise ValueError("the text is empty; say what is wanted")
        return [0] * len(text.split())


PROMPT = AnyText(name="prompt", pieces=("", "any"), room=1_024)


class Painter(nn.Module):
    """A pipeline of diffusers that makes images ``[H, W, C]``, by words or without."""

    def __init__(self, pipeline: Any, shape: tuple[int, int, int], longest: int) -> None:
        super().__init__()
        self.pipeline, self.shape = pipeline, shape
        self.parts = nn.ModuleList(part for part in pipeline.components.values() if isinstance(part, nn.Module))
        told = "prompt" in inspect.signature(type(pipeline).__call__).parameters
        self.config = ForeignConfig(longest, (PROMPT,) if told else ())
        self.texts: Sequence[str] = ()

    def tell(self, texts: Sequence[str]) -> None:
        """The prompts that a condition value counts from now on."""
        self.texts = list(texts)


class PainterDecoder:
    """Draws from a pipeline: the noise of an item follows from the seed and its index alone."""

    def __init__(self, model: Painter) -> None:
        self.model = model
        self.device = next(model.parameters()).device

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
        start: Start | None = None,
    ) -> Decoded:
        """``[B, H W C]`` numbers as tokens, an image for each row of ``values [B, P]`` and item index ``items [B]``."""
        if rules.sampler:
            raise UsageError("a pipeline brings its own sampler; leave sampler out")
        model, parts = self.model, []
        for rows in range(0, len(items), AT_ONCE):
            chunk, asked = items[rows : rows + AT_ONCE], values[rows : rows + AT_ONCE]
            how: dict[str, Any] = {"generator": [self._noise(seed, int(item)) for item in chunk], "output_type": "np"}
            how |= {"num_inference_steps": rules.steps} if rules.steps else {}
            pipeline = model.pipeline
            if model.config.fields:
                how["prompt"] = ["" if value.isnan() else model.texts[int(value)] for value in asked[:, 0]]
                how["guidance_scale"] = guidance
            else:
                how["batch_size"] = len(chunk)
            if start is not None:
                pipeline, more = _going_on(pipeline, start, model.shape, len(chunk))
                how |= more
            made = pipeline(**how).images
            parts.append(torch.from_numpy(made).mul(255).round().clamp(0, 255).long())
        tokens = torch.cat(parts).flatten(1) + len(SPECIALS)
        if start is not None and start.keep is not None:
            tokens = torch.where(start.keep, start.tokens, tokens)
        length = torch.full((len(tokens),), tokens.shape[1])
        return Decoded(tokens, length, torch.ones(len(tokens), dtype=torch.bool), torch.full(length.shape, torch.nan))

    def _noise(self, seed: int, item: int) -> torch.Generator:
        words = rng.token_words(seed, torch.tensor([item]), 1).flatten().tolist()
        return torch.Generator("cpu").manual_seed(words[0] & 0xFFFFFFFF)


def _going_on(pipeline: Any, start: Start, shape: tuple[int, int, int], count: int) -> tuple[Any, dict[str, Any]]:
    """The pipeline of the same parts that changes an image, or fills a part of it; and what it is told."""
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting
    from PIL import Image

    def picture(numbers: Tensor) -> Any:
        return Image.fromarray(numbers.view(shape).numpy().astype("uint8").squeeze())

    kind = AutoPipelineForImage2Image if start.keep is None else AutoPipelineForInpainting
    try:
        other = kind.from_pipe(pipeline)
    except ValueError:
        raise UsageError(f"diffusers has no {type(pipeline).__name__} that goes on from an image") from None
    other.set_progress_bar_config(disable=True)
    told: dict[str, Any] = {"image": [picture(start.tokens - len(SPECIALS))] * count, "strength": start.strength}
    if start.keep is not None:
        told["mask_image"] = [picture(torch.where(start.keep, 0, 255))] * count
    return other, told
