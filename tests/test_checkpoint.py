"""Checkpoints come back as they went, whole or not at all; hostile folders get a CheckpointError and nothing else."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from genesis import checkpoint
from genesis.checkpoint import Config, Provenance, load, read_config, save
from genesis.errors import CheckpointError, GenesisError, UsageError
from genesis.models.transformer import Transformer, TransformerConfig
from genesis.nn.conditioner import CategoryField, NumberField

FIELDS = (
    NumberField(name="qed", mean=0.7, std=0.1, quantiles=(0.1, 0.7, 0.9)),
    CategoryField(name="style", values=("a", "b")),
)
SHAPE = TransformerConfig(
    vocab=8, max_length=8, dim=8, depth=1, heads=2, kv_heads=1, ff_dim=8, cond_dim=8, fields=FIELDS
)  # fmt: skip
CONFIG = Config(
    domain="toys",
    vocab=("<pad>", "<bos>", "<eos>", "C", "é"),
    model=SHAPE,
    provenance=Provenance(corpus="toy", licence="CC0", items=3, trained="2026-11-22"),
    scores={"validity": 0.9987654321},
)
HEADROOM = 512 << 20  # bytes of address space that a refusal may take: far less than what the attacks declare

Attack = Callable[[Path], object]


def network(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(SHAPE)
    for p in model.parameters():
        torch.nn.init.normal_(p)
    return model.eval()


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("checkpoint") / "good"
    save(network(), CONFIG, target)
    return target


@pytest.fixture
def victim(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "victim"))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """No more address space than now and a little: memory that is taken before a refusal would fail the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + HEADROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float16])
def test_round_trip(tmp_path, dtype):
    model = network()
    save(model, CONFIG, tmp_path / "it", dtype)
    loaded, config = load(tmp_path / "it")
    assert config == CONFIG
    assert not loaded.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in loaded.parameters())
    rounded = network()
    for name, p in loaded.named_parameters():
        expected = model.get_parameter(name).detach().to(dtype).float()
        assert torch.equal(p.detach(), expected)
        rounded.get_parameter(name).data.copy_(expected)
    tokens, values = torch.randint(0, 8, (2, 8)), torch.tensor([[0.8, 1.0], [0.7, float("nan")]])
    with torch.no_grad():
        assert torch.equal(loaded(tokens, values), rounded(tokens, values))  # the buffers are made anew


def test_the_folder_holds_two_files_and_no_code(good):
    assert sorted(p.name for p in good.iterdir()) == ["config.json", "model.safetensors"]
    record = json.loads((good / "config.json").read_text(encoding="utf-8"))
    assert record["format"] == 1
    assert record["vocab"][4] == "é"
    assert set(load_file(good / "model.safetensors")) == set(network().state_dict())


def test_loaded_weights_are_no_window_on_the_file(tmp_path):
    save(network(), CONFIG, tmp_path / "it", torch.float32)
    loaded, _ = load(tmp_path / "it")
    os.truncate(tmp_path / "it" / "model.safetensors", 0)  # a mapped tensor would end the process here
    assert all(p.isfinite().all() for p in loaded.parameters())


def test_a_checkpoint_is_replaced_whole(tmp_path):
    save(network(0), CONFIG, tmp_path / "it")
    (tmp_path / "it" / "training_keys.npy").touch()
    save(network(1), CONFIG, tmp_path / "it")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "it", "model.safetensors"]
    assert torch.equal(load(tmp_path / "it")[0].head.bias, network(1).head.bias.bfloat16().float())


def test_another_folder_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"something else stands there \(no config.json in it\)"):
        save(network(), CONFIG, tmp_path)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = network()
    model.head.bias.data[3] = float("nan")
    with pytest.raises(GenesisError, match=r"not saved, for the weights hold NaN or infinity \('head.bias'\)"):
        save(model, CONFIG, tmp_path / "it")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def killed(good, tmp_path_factory) -> tuple[int, Path]:
    """A process that loaded one checkpoint and was killed while it saved another, again and again.

    The number of modules that loading imported, and the place it saved to.
    """
    code = (
        "import sys, torch; from pathlib import Path; from genesis.checkpoint import load\n"
        "before = set(sys.modules); load(Path(sys.argv[1])); imported = len(set(sys.modules) - before)\n"
        "sys.path.insert(0, sys.argv[3]); import test_checkpoint as t\n"
        "for seed in range(10**6):\n"
        "    t.save(t.network(seed), t.CONFIG, Path(sys.argv[2]), t.torch.float32)\n"
        "    if seed == 0: print(imported, flush=True)"
    )
    target = tmp_path_factory.mktemp("killed") / "it"
    command = [sys.executable, "-c", code, str(good), str(target), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        imported = int(writer.stdout.readline())
        time.sleep(0.3)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    return imported, target


def test_loading_imports_nothing_more_than_torch(killed):
    """The registrations behind torch's meta device alone took 1.3 s of every start."""
    assert killed[0] < 20


def test_a_killed_save_leaves_the_old_checkpoint(killed):
    target = killed[1]
    # between the two renames of a replacement the old one stands there under its temporary name
    load(target if target.exists() else next(target.parent.glob(".it.*.old")))
    save(network(), CONFIG, target)
    assert [p.name for p in target.parent.iterdir()] == ["it"]


def config_text(text: str | bytes) -> Attack:
    return lambda p: (p / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())


def config_with(*path: str, value: Any) -> Attack:
    def change(p: Path) -> None:
        record = json.loads((p / "config.json").read_text())
        place = record
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        (p / "config.json").write_text(json.dumps(record))

    return change


def tensors_with(change: Callable[[dict[str, torch.Tensor]], object]) -> Attack:
    def attack(p: Path) -> None:
        weights = dict(load_file(p / "model.safetensors"))
        weights = {name: w.clone() for name, w in weights.items()}
        change(weights)
        save_file(weights, p / "model.safetensors")

    return attack


def header_with(change: Callable[[dict[str, Any]], object]) -> Attack:
    def attack(p: Path) -> None:
        header, body = parts(p)
        rebuilt = change(header)
        write_parts(p, json.dumps(header if rebuilt is None else rebuilt).encode(), body)

    return attack


def parts(p: Path) -> tuple[dict[str, Any], bytes]:
    raw = (p / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_parts(p: Path, header: bytes, body: bytes, length: int | None = None) -> None:
    claimed = len(header) if length is None else length
    (p / "model.safetensors").write_bytes(struct.pack("<Q", claimed) + header + body)


def weights_text(raw: bytes) -> Attack:
    return lambda p: (p / "model.safetensors").write_bytes(raw)


def truncated(size: int) -> Attack:
    def attack(p: Path) -> None:
        file = p / "model.safetensors"
        os.truncate(file, size if size >= 0 else file.stat().st_size + size)

    return attack


def doubled(p: Path) -> None:
    """The same name twice in the header: parsers may differ on which one counts."""
    header, body = parts(p)
    text = json.dumps(header)
    entry = json.dumps({"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]})
    write_parts(p, (text[:-1] + f', "head.bias": {entry}}}').encode(), body)


def claims_101_megabytes(p: Path) -> None:
    with (p / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 101 << 20))
        file.truncate(200 << 20)


def sparse(p: Path) -> None:
    """A terabyte of holes."""
    with (p / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 40)


def fifo(p: Path) -> None:
    (p / "model.safetensors").unlink()
    os.mkfifo(p / "model.safetensors")


def poison(value: float) -> Attack:
    return tensors_with(lambda w: w["embed.weight"].view(-1)[5:6].fill_(value))


def offsets(value: Any) -> Attack:
    return header_with(lambda h: h["head.bias"].update(data_offsets=value))


CONFIG_ATTACKS: dict[str, tuple[Attack, str]] = {
    "none": (lambda p: (p / "config.json").unlink(), r"no checkpoint here \(config.json is missing\)"),
    "empty": (config_text(""), "not readable as JSON"),
    "not JSON": (config_text("hello"), "not readable as JSON"),
    "not UTF-8": (config_text(b'{"format": 1, "domain": "\xff\xfe"}'), "not readable as JSON"),
    "deep": (config_text("[" * 200_000), "not readable as JSON"),
    "deep and closed": (config_text('{"format": 1, "vocab": ' + "[" * 90_000 + "]" * 90_000 + "}"), "not readable"),
    "long integer": (config_text('{"format": 1, "domain": ' + "9" * 100_000 + "}"), "not readable as JSON"),
    "a list": (config_text("[1, 2]"), r"not a genesis config \('the whole file': Input should be"),
    "null": (config_text("null"), r"not a genesis config \('the whole file'"),
    "5 MB": (config_text(" " * (5 << 20)), "5,242,880 bytes; a config has at most 4,194,304"),
    "format 2": (config_with("format", value=2), "checkpoint format 2; this version reads 1. Train it again or"),
    "format of a megabyte": (config_with("format", value="x" * 10**6), r"checkpoint format 'x{39}; this version"),
    "no format": (config_text("{}"), "checkpoint format None; this version reads 1"),
    "other family": (config_with("family", value="gan"), "the family is gan, and the model is of transformer"),
    "no family": (config_with("family", value="flow"), r"\('family': Input should be 'transformer', 'vae'"),
    "no such model": (config_with("model", "kind", value="flow"), "'model': Input tag 'flow' found"),
    "unknown key": (config_with("model", "trust_remote_code", value=True), "'model.trust_remote_code': Extra inputs"),
    "unknown key of a megabyte": (config_with("x" * 10**6, value=1), "x{79}: Extra inputs are not permitted"),
    "missing key": (config_with("model", value={}), r"\('model.vocab': Field required\)"),
    "NaN": (config_text('{"format": 1, "domain": NaN}'), "not a genesis config"),
    "NaN score": (config_with("scores", "validity", value=float("nan")), "'scores.validity': Input should be a finite"),
    "surrogate": (config_with("vocab", 3, value="\ud800"), "surrogates not allowed"),
    "more tokens than rows": (config_with("vocab", value=["x"] * 9), "9 tokens for a network of 8"),
    "a million tokens": (config_with("vocab", value=["x"] * 100_000), "'vocab': Tuple should have at most 65536 items"),
    "no depth": (config_with("model", "depth", value=0), "'model.depth': Input should be greater than or equal to 1"),
    "heads": (config_with("model", "heads", value=3), "dim 8 is no multiple of 2 x 3 heads"),
    "10^12 wide": (config_with("model", "dim", value=10**12), "'model.dim': Input should be less than or equal"),
    "zero deviation": (config_with("model", "fields", 0, "std", value=0), "model.fields.0.number.std"),
    "tensors of another shape": (config_with("model", "ff_dim", value=16), r"up.weight has shape \[16, 8\]"),
    "deeper": (config_with("model", "depth", value=2), r"missing: 'blocks.1.down.weight', .* \.\.\., not known: none"),
    "fewer fields": (config_with("model", "fields", value=[]), "missing: none, not known: 'conditioner.categories.0"),
}  # fmt: skip

EMPTY = b'"dtype":"F32","shape":[0],"data_offsets":[0,0]'
WEIGHT_ATTACKS: dict[str, tuple[Attack, str]] = {
    "none": (lambda p: (p / "model.safetensors").unlink(), r"no weights here \(model.safetensors is missing\)"),
    "a pipe": (fifo, "no weights here"),
    "empty": (weights_text(b""), "not readable as safetensors"),
    "seven bytes": (weights_text(b"1234567"), "not readable as safetensors"),
    "pickle": (weights_text(b"\x80\x04cos\nsystem\n(S'touch canary'\ntR."), "truncated or not safetensors"),
    "header of 2^64": (weights_text(b"\xff" * 64), r"header of 18,446,744,073,709,551,615 bytes in a file of 64"),
    "header of 101 MB": (claims_101_megabytes, r"a header of 105,906,176 bytes; this model's has at most \d\d,\d\d\d"),
    "one byte short": (truncated(-1), "truncated or damaged"),
    "half": (truncated(700), "truncated or"),
    "header alone": (truncated(100), r"truncated or not safetensors \(header of"),
    "a terabyte of holes": (sparse, r"truncated or damaged \(1,099,511,627,776 bytes"),
    "header not JSON": (lambda p: write_parts(p, b"x" * 80, parts(p)[1]), "not readable as safetensors"),
    "header not UTF-8": (lambda p: write_parts(p, b'{"\xff": 1}', parts(p)[1]), "not readable as safetensors"),
    "header a list": (header_with(lambda h: [1]), r"the header is no table"),
    "header deep": (lambda p: write_parts(p, b'{"a":' + b"[" * 60_000, b""), "not readable as safetensors"),
    "10^5 empty tensors": (
        lambda p: write_parts(p, b"{" + b",".join(b'"%d":{%s}' % (i, EMPTY) for i in range(100_000)) + b"}", b""),
        "a header of 5,[0-9,]+ bytes; this model's has at most",
    ),
    "an extra tensor": (tensors_with(lambda w: w.update(evil=torch.ones(3))), "missing: none, not known: 'evil'"),
    "a missing tensor": (tensors_with(lambda w: w.pop("head.bias")), "missing: 'head.bias', not known: none"),
    "a renamed tensor": (
        tensors_with(lambda w: w.update({"x" * 30_000: w.pop("head.bias")})),
        "missing: 'head.bias', not known: 'x{59}$",
    ),
    "another shape": (
        tensors_with(lambda w: w.update({"head.bias": torch.ones(4, 2)})),
        r"head.bias has shape \[4, 2\], the config says \[8\]",
    ),
    "another type": (
        tensors_with(lambda w: w.update({"head.bias": torch.ones(8, dtype=torch.int64)})),
        "head.bias holds 'I64'; a checkpoint holds F32, BF16, F16",
    ),
    "a type that is none": (header_with(lambda h: h["head.bias"].update(dtype=["F32"])), r"head.bias holds \['F32'\]"),
    "a shape that is none": (header_with(lambda h: h["head.bias"].update(shape=None)), "head.bias has shape None"),
    "shape [2^40, 2^40]": (header_with(lambda h: h["head.bias"].update(shape=[2**40, 2**40])), "head.bias has shape"),
    "an entry that is none": (header_with(lambda h: h.update({"head.bias": 3})), "head.bias has shape None"),
    "one offset": (offsets([0]), "damaged"),
    "no offsets": (header_with(lambda h: h.update({"head.bias": {"dtype": "BF16", "shape": [8]}})), "damaged"),
    "offsets null": (offsets(None), "damaged"),
    "offsets as text": (offsets("ab"), "damaged"),
    "offsets negative": (offsets([-16, 0]), "damaged"),
    "offsets backwards": (offsets([16, 0]), "damaged"),
    "offsets far away": (offsets([2**62, 2**62 + 16]), "damaged"),
    "offsets beyond 64 bits": (offsets([0, 2**70]), "damaged"),
    "offsets overlapping": (offsets([0, 16]), "damaged"),
    "a name twice": (doubled, "head.bias has shape|damaged"),
    "NaN": (poison(float("nan")), "embed.weight holds NaN or infinity; the training that wrote it went wrong"),
    "infinity": (poison(float("-inf")), "embed.weight holds NaN or infinity"),
}  # fmt: skip

ATTACKS = {
    **{f"config: {name}": attack for name, attack in CONFIG_ATTACKS.items()},
    **{f"weights: {name}": attack for name, attack in WEIGHT_ATTACKS.items()},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_folders_are_refused(victim, little_memory, name):
    attack, message = ATTACKS[name]
    attack(victim)
    began = time.process_time()
    with pytest.raises(CheckpointError, match=message) as error:
        load(victim)
    assert time.process_time() - began < 1
    assert str(victim) in str(error.value)
    assert len(str(error.value)) < 500 + 2 * len(str(victim))
    assert "\n" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None  # one line, no parser's traceback
    assert not Path("canary").exists()


def test_a_huge_network_is_refused_before_memory_is_taken(victim, little_memory):
    for name, value in {"dim": 8192, "ff_dim": 32_768, "depth": 128, "vocab": 65_536, "heads": 64}.items():
        config_with("model", name, value=value)(victim)
    began = time.process_time()
    with pytest.raises(CheckpointError, match=r"describes \d{3},\d{3},\d{3},\d{3} parameters; this version"):
        load(victim)
    assert time.process_time() - began < 2


def test_the_bound_on_parameters_is_exact(victim, monkeypatch):
    count = sum(p.numel() for p in network().parameters())
    monkeypatch.setattr(checkpoint, "MAX_PARAMETERS", count)
    load(victim)
    monkeypatch.setattr(checkpoint, "MAX_PARAMETERS", count - 1)
    with pytest.raises(CheckpointError, match=f"describes {count:,} parameters"):
        load(victim)


def test_a_config_can_be_read_without_its_weights(victim):
    (victim / "model.safetensors").unlink()
    assert read_config(victim) == CONFIG


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """A few random edits: bytes, digits, cuts, copies, and values that parsers stumble over."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 20)]
        elif kind == 2:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.randrange(1, 60)]
        elif kind == 3:
            digits = [i for i, b in enumerate(data) if 48 <= b <= 57]
            if digits:
                data[rng.choice(digits)] = rng.randrange(48, 58)
        elif kind == 4:
            data[at:at] = rng.choice(
                (b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b'"', b"\\u0000", b"\\ud800", b"9" * 30, b"[" * 3_000)
            )
        elif at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("cases", [500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutated_folders_load_or_are_refused(good, tmp_path, little_memory, cases):
    rng = random.Random(cases)
    victim = Path(shutil.copytree(good, tmp_path / "victim"))
    config = (good / "config.json").read_bytes()
    raw = (good / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, body = raw[8 : 8 + length], raw[8 + length :]
    loaded = refused = 0
    slowest = 0.0
    for case in range(cases):
        (victim / "config.json").write_bytes(mutated(config, rng) if case % 2 else config)
        if case % 2:
            (victim / "model.safetensors").write_bytes(raw)
        elif case % 3:
            text = mutated(header, rng)
            write_parts(victim, text, body, None if case % 4 else rng.choice((length, len(text) + 1, 2**63)))
        else:
            (victim / "model.safetensors").write_bytes(mutated(raw, rng))
        began = time.process_time()
        try:
            model, _ = load(victim)
            assert all(p.isfinite().all() for p in model.parameters())
            loaded += 1
        except CheckpointError:
            refused += 1
        slowest = max(slowest, time.process_time() - began)
    assert refused > 0.7 * cases
    assert loaded > 0  # some mutations change a word of the licence and no more
    assert slowest < 2
