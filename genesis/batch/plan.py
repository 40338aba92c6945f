"""What a run makes: the plan that a user writes, and the order, in which nothing is left to chance.

S  indices of a shard    G  combinations of a sweep
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Hashable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import genesis
from genesis import families
from genesis.asked import Asked, value
from genesis.decoding.loop import fast_dtype
from genesis.decoding.sampling import Rules
from genesis.domain import Label, Screened
from genesis.drawing import Request
from genesis.engine import PATIENCE, Engine
from genesis.errors import InputError, UnknownProperty, UsageError
from genesis.targets import Targets

FORMAT = 1
MAX_PLAN_BYTES = 1 << 20
MAX_COMBINATIONS = 1_000  # of a sweep: each is counted in every shard
SHARDS = 200  # a run has about so many, so that a kill costs little and a folder stays readable
SMALLEST, LARGEST = 512, 10_240  # indices of a shard; the largest is under a minute of one core
PARTS = {".json", ".safetensors", ".npy"}  # what a checkpoint consists of
STEP = 512  # shards are whole batches of the default size
# not of the computation: a new version of these changes no byte
INTERFACE = {"typer", "rich", "pydantic", "pyyaml", "loky", "pillow"}


class Plan(BaseModel):
    """A run in the user's words: the flags of the generating command, and sweeps. Texts are as in a flag: ``"2:3"``."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
    domain: str
    count: int = Field(ge=1, le=10**11)  # items of the library: valid, distinct, past the screen
    model: str | None = None
    target: dict[str, float | str] = {}
    sweep: dict[str, list[float | str]] = {}  # every combination in turn: index i has combination i mod G
    seed: int = Field(default=0, ge=0, lt=2**63)
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    guidance: float = Field(default=1.0, ge=0, le=20)
    keep_best: int = Field(default=1, ge=1, le=1_000)  # of each shard, the closest 1 in so many
    constrained: bool = True
    screen: bool = True
    measure: Literal["all"] | list[str] = "all"
    batch_size: int = Field(default=512, ge=1, le=65_536)
    shard: int | None = Field(default=None, ge=8, le=1_000_000)

    @classmethod
    def of(cls, settings: Mapping[str, Any], source: str = "plan") -> Plan:
        """A checked plan; UsageError names the setting that cannot be meant."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"] if part not in ("float", "str"))
            if first["type"] == "extra_forbidden":
                raise UsageError(f"{source}: unknown setting {place!r}; known: {', '.join(cls.model_fields)}") from None
            if first["type"] == "missing":
                raise UsageError(f"{source}: {place} is missing; give it") from None
            raise UsageError(f"{source}: {place}={first['input']!r:.60}: {first['msg']}") from None


def read_plan(path: Path) -> dict[str, Any]:
    """The settings of a plan file. ``2:3`` is a text, never a number to base sixty; a key may not come twice."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PLAN_BYTES + 1)
        if len(raw) > MAX_PLAN_BYTES:
            raise InputError(f"{path}: more than {MAX_PLAN_BYTES:,} bytes; a plan is a page of text")
        found = yaml.load(raw.decode(), Loader=_Loader)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror or error})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f"line {where.line + 1}: " if where else ""
        why = " ".join((getattr(error, "problem", None) or str(error)).split())
        raise InputError(f"{path}: not a plan ({line}{why:.200})") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{path}: not a plan; write one SETTING: VALUE a line, such as `count: 1000`")
    return found


class _Loader(yaml.SafeLoader):
    """YAML without its surprises: no 1:30 = 90, no `no` = false, no octal, no dates, no aliases, no repeated keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - yaml's own name

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*NAME) are not read; write the value again")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: {key.value!r:.60} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _resolve_plain_scalars() -> None:
    import re

    for tag, pattern, first in (
        ("bool", r"true|false", "tf"),
        ("null", r"null|~|", "n~"),
        ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
        ("float", r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
    ):
        _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))


_resolve_plain_scalars()


class Order(BaseModel):
    """``_plan.json``: a plan with everything that decides the bytes of its shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = FORMAT
    plan: Plan
    shard: int
    limit: int  # indices drawn at most
    measure: tuple[str, ...]
    screen: bool  # the plan wants it, and the domain has one
    model: str  # its name
    path: str  # its folder
    model_hash: str
    corpus: str
    licence: str
    decodes: str  # device and precision
    genesis: str
    versions: dict[str, str]

    @classmethod
    def of(cls, plan: Plan, engine: Engine) -> Order:
        """The order of a plan for a loaded model; UsageError for what this model cannot be asked."""
        domain, path = engine.domain, engine.path
        if plan.domain != domain.name:
            raise UsageError(f"{engine.name} is a model of {domain.name}; the plan asks for {plan.domain}")
        if path is None:
            raise UsageError("a batch run needs a model in a folder; save it first")
        targets = targets_of(plan, engine)
        known = tuple(name for name, kind in domain.properties.items() if not isinstance(kind, Label))
        names = known if plan.measure == "all" else tuple(plan.measure)
        unknown = next((name for name in names if name not in known), None)
        if unknown is not None:
            raise UnknownProperty(unknown, known, f"the domain {domain.name!r}")
        measurable = [name for name in targets.asked if name in known]
        if plan.keep_best > 1 and len(measurable) < max(1, len(targets.asked)):
            blind = next((name for name in targets.asked if name not in measurable), None)
            raise UsageError(
                f"keep_best needs targets that can be measured; {blind!r} is known from the training file only"
                if blind
                else "keep_best chooses the items closest to the targets; give a target"
            )
        families.check_drawing(engine.config, plan.guidance)
        provenance = engine.config.provenance
        return cls(
            plan=plan,
            shard=plan.shard or shard_size(plan.count * plan.keep_best),
            limit=plan.count * plan.keep_best * PATIENCE + 64,
            measure=tuple(dict.fromkeys((*measurable, *names))),
            screen=plan.screen and isinstance(domain, Screened),
            model=engine.name,
            path=str(path.resolve()),
            model_hash=model_hash(path),
            corpus=provenance.corpus,
            licence=provenance.licence,
            decodes=f"{engine.device.type} {str(fast_dtype(engine.device)).removeprefix('torch.')}",
            genesis=genesis.__version__,
            versions=_versions(),
        )

    @property
    def name(self) -> str:
        """Sixteen letters that tell one order from another."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def shards(self) -> int:
        """Shards that ``limit`` indices make; a run that finds enough needs fewer."""
        return -(-self.limit // self.shard)

    def identity(self) -> dict[str, Any]:
        """Everything but where the model lies, and what its folder is called."""
        found = self.model_dump(mode="json", exclude={"path", "model"})
        found["plan"].pop("model")
        found["plan"].pop("shard")
        return found

    def range(self, shard: int) -> tuple[int, int]:
        """First index of a shard, and the one after its last."""
        return shard * self.shard, min((shard + 1) * self.shard, self.limit)

    def request(self) -> Request:
        plan = self.plan
        rules = Rules(temperature=plan.temperature, top_k=plan.top_k, top_p=plan.top_p, min_p=plan.min_p)
        return Request(
            seed=plan.seed,
            rules=rules,
            guidance=plan.guidance,
            constrained=plan.constrained,
            strict=plan.constrained,
            measure=self.measure,
        )

    def provenance(self) -> dict[str, Any]:
        """What every shard says of its origin."""
        return {
            "model": self.model, "model_hash": self.model_hash, "corpus": self.corpus, "licence": self.licence,
            "seed": self.plan.seed, "genesis": self.genesis, "order": self.name, "screen": self.screen,
        }  # fmt: skip


def differences(old: Order, new: Order) -> Iterator[str]:
    """``temperature: 1.0 there, 0.9 here``: each setting in which two orders differ."""
    before, after = _flat(old.identity()), _flat(new.identity())
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name}: {_short(before.get(name))} there, {_short(after.get(name))} here"


def combinations(plan: Plan) -> list[dict[str, float | str]]:
    """The G combinations of a sweep, the last property fastest; one empty one without a sweep."""
    several = math.prod(len(each) for each in plan.sweep.values())
    if several > MAX_COMBINATIONS:
        raise UsageError(f"a sweep of {several:,} combinations; at most {MAX_COMBINATIONS:,}")
    both = next((name for name in plan.sweep if name in plan.target), None)
    if both is not None:
        raise UsageError(f"{both} is a target and in the sweep; leave one out")
    empty = next((name for name, each in plan.sweep.items() if not each), None)
    if empty is not None:
        raise UsageError(f"sweep {empty}: no value; give one or more")
    return [dict(zip(plan.sweep, one, strict=True)) for one in itertools.product(*plan.sweep.values())]


def targets_of(plan: Plan, engine: Engine) -> Targets:
    """What each index is asked for."""
    labelled = {field.name for field in engine.config.model.fields if field.kind == "category"}

    def read(name: str, given: float | str) -> Asked:
        return value(name, given, name in labelled) if isinstance(given, str) else float(given)

    each = combinations(plan)
    swept = {name: [read(name, one[name]) for one in each] for name in plan.sweep}
    fixed = {name: read(name, given) for name, given in plan.target.items()}
    return engine.targets({**fixed, **swept})


def screened(order: Order, engine: Engine) -> Screened[Any] | None:
    """The domain, when the plan wants a screen and the domain has one."""
    return engine.domain if order.screen and isinstance(engine.domain, Screened) else None


def shard_size(indices: int) -> int:
    """A two-hundredth of the run in whole batches, between half a thousand and ten thousand."""
    return min(max(-(-indices // SHARDS // STEP) * STEP, SMALLEST), LARGEST)


def model_hash(path: Path) -> str:
    """SHA-256 over the files of a checkpoint: all but texts about it decide what is drawn or what is called novel."""
    sha = hashlib.sha256()
    for part in sorted(path.iterdir()):
        if part.is_file() and part.suffix in PARTS:
            with part.open("rb") as file:
                sha.update(f"{part.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return sha.hexdigest()


def _versions() -> dict[str, str]:
    """The libraries whose version may change a byte: those that genesis requires, and the writer of Parquet."""
    try:
        required = [line for line in metadata.requires("genesis-engine") or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        required = ["numpy"]
    names = {"".join(itertools.takewhile(lambda c: c.isalnum() or c in "-_.", line)).lower() for line in required}
    names = (names | {"pyarrow"}) - INTERFACE - {"torch"}
    return {"torch": torch.__version__} | {name: metadata.version(name) for name in sorted(names)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, dict):
            found |= _flat(each, "" if name in ("plan", "versions") else f"{name}.")
        else:
            found[prefix + name] = each
    return found


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
