"""Models of the wider ecosystem behind the same engine: ``hf:PATH`` and ``diffusers:PATH``.

Only files that are here are read, never a hub; weights are safetensors or GGUF, and no code that comes with them runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genesis import registry
from genesis.checkpoint import Config, Provenance
from genesis.decoding.foreign import Causal, Painter
from genesis.decoding.loop import fast_dtype
from genesis.domain import SPECIALS, Speaking
from genesis.errors import ResourceError

if TYPE_CHECKING:
    from genesis.engine import Engine

KINDS = ("hf", "diffusers")
ROOM = 256  # tokens of a text at most: a language model seldom ends one by itself
INSTALL = 'pip install "genesis-engine[foreign]"'
SENTENCEPIECE = "▁"  # how its vocabularies write a space
RAW = re.compile(r"<0x([0-9A-F]{2})>")  # and a byte that is in no other piece


def is_foreign(name: str | Path) -> bool:
    return str(name).partition(":")[0] in KINDS and ":" in str(name)


def load(name: str, device: torch.device) -> Engine:
    """The engine of ``hf:PATH`` (a folder, or a .gguf file) or ``diffusers:PATH`` (the folder of a pipeline)."""
    kind, _, place = name.partition(":")
    path = Path(place)
    if not place or not path.exists():
        raise ResourceError(f"{name}: no such folder or file; {kind}: takes what is on this machine, never from a hub")
    try:
        return language_model(path, device) if kind == "hf" else pipeline(path, device)
    except ImportError as error:
        raise ResourceError(f"{name}: {error.name or error} is not installed; {INSTALL}") from None


def language_model(path: Path, device: torch.device) -> Engine:
    """A causal language model of transformers as an engine of texts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging, quantization_config

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path)}
    more: dict[str, Any] = {"dtype": fast_dtype(device), "use_safetensors": True}
    if path.is_file():
        where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        if hasattr(quantization_config, "GgufConfig"):  # packed weights are unpacked at every product otherwise
            more["quantization_config"] = quantization_config.GgufConfig(dequantize=True)
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where, **safe)
        network = AutoModelForCausalLM.from_pretrained(**where, **safe, **more)
    except ImportError:
        raise
    except Exception as error:  # every format has errors of its own
        raise ResourceError(f"hf:{path}: not a language model that transformers reads ({error!s:.200})") from None
    network = network.eval().requires_grad_(False).to(device)
    vocab = vocabulary(tokenizer)
    end = network.generation_config.eos_token_id if network.generation_config else None
    ends = [end] if isinstance(end, int) else list(end or ())
    ends += [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    if not ends:
        raise ResourceError(f"hf:{path}: neither the model nor its tokenizer says which token ends a text")
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else ends[-1]
    longest = int(getattr(network.config, "max_position_embeddings", 0) or ROOM)
    model = Causal(network, len(vocab) - len(SPECIALS), begin, ends, min(longest, ROOM)).eval()

    def split(text: str) -> list[int]:
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return [len(SPECIALS) + i for i in ids]

    return _engine("text", f"hf:{path}", model, vocab, split)


def vocabulary(tokenizer: Any) -> tuple[str, ...]:
    """Our three tokens and the tokenizer's in their order, in the alphabet of byte-level BPE.

    A token that stands for no text, or for the same text as an earlier one, gets a name that no text holds.
    """
    written: Sequence[str] = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.all_special_ids)
    special |= {i for i, added in tokenizer.added_tokens_decoder.items() if added.special}
    spaces = any(token and token.startswith(SENTENCEPIECE) for token in written)
    out = list(SPECIALS)
    taken = set(out)
    for number, token in enumerate(written):
        entry = _in_bytes(token) if spaces and token else token
        if number in special or not entry or entry in taken:
            entry = f"<unused {number}>"  # a space is not in the alphabet
        taken.add(entry)
        out.append(entry)
    return tuple(out)


def _in_bytes(token: str) -> str:
    """A piece of SentencePiece in the alphabet of byte-level BPE."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = bytes_to_unicode()
    raw = RAW.fullmatch(token)
    data = bytes((int(raw[1], 16),)) if raw else token.replace(SENTENCEPIECE, " ").encode()
    return "".join(letters[byte] for byte in data)


def pipeline(path: Path, device: torch.device) -> Engine:
    """A pipeline of diffusers as an engine of images."""
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    kind = torch.float32 if device.type == "cpu" else torch.float16
    try:
        found = DiffusionPipeline.from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, trust_remote_code=False, torch_dtype=kind
        )
    except ImportError:
        raise
    except Exception as error:
        raise ResourceError(f"diffusers:{path}: not a pipeline that diffusers reads ({error!s:.200})") from None
    found.set_progress_bar_config(disable=True)
    network: Any = getattr(found, "unet", None) or getattr(found, "transformer", None)
    size = getattr(getattr(network, "config", None), "sample_size", None)
    if not isinstance(size, int):
        raise ResourceError(f"diffusers:{path}: {type(found).__name__} does not make square images")
    latent = getattr(found, "vae", None)
    side = size * int(getattr(found, "vae_scale_factor", 1)) if latent is not None else size
    channels = int((latent or network).config.out_channels)
    own = registry.domain("images")
    model = Painter(found.to(device), (side, side, channels), own.spec.max_length).eval()
    return _engine("images", f"diffusers:{path}", model, own.spec.vocab)


def _engine(
    domain: str, name: str, model: Any, vocab: Sequence[str], split: Callable[[str], Sequence[int]] | None = None
) -> Engine:
    from genesis.engine import Engine

    own, family = registry.domain(domain), "transformer" if isinstance(model, Causal) else "diffusion"
    speaks = own.speaking(vocab, split) if isinstance(own, Speaking) else own
    provenance = Provenance(corpus="not recorded", licence="the model's own", items=0)
    config = Config.model_construct(
        domain=domain, family=family, vocab=speaks.spec.vocab, model=model.config, provenance=provenance
    )
    return Engine(model, config, domain=speaks, name=name)
