"""``genesis doctor``: what this installation is made of, what it will run on, and whether it works."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from genesis import __version__
from genesis.cli import streams
from genesis.cli.flags import Debug, Json, flag
from genesis.errors import GenesisError
from genesis.table import duration, table

EPILOG = """\
Exit code 1 when a check fails.

Examples:
  genesis doctor
  genesis doctor --json > report.json
  genesis doctor --no-self-test"""
ITEMS = 8  # of the self-test
SUMS = "SHA256SUMS"
FOR_DEVELOPERS = ("dev", "bench")  # extras that no command needs

NoSelfTest = Annotated[bool, flag("--no-self-test", help="Do not generate anything.")]


def doctor(json: Json = False, no_self_test: NoSelfTest = False, debug: Debug = False) -> int:
    """Check this installation: versions, device, operations, presets, a self-test."""
    found: dict[str, Any] = {
        "versions": _versions(),
        "machine": _machine(),
        "operations": _operations(),
        "presets": _presets(),
        "self_test": [] if no_self_test else _self_tests(),
    }
    failed = [check for check in (*found["presets"], *found["self_test"]) if not check["ok"]]
    if json:
        streams.show_json({**found, "ok": not failed})
    else:
        streams.show(_text(found))
    return GenesisError.exit_code if failed else 0


def _versions() -> dict[str, str]:
    """Python, genesis, and every library that it declares, extras among them."""
    found = {"python": platform.python_version(), "genesis": __version__}
    try:
        required = metadata.requires("genesis-engine") or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        required = ["torch", "numpy", "safetensors", "pydantic", "typer", "triton"]
    for line in required:
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"](\w+)", line)
        if name == "genesis-engine" or (extra and extra[1] in FOR_DEVELOPERS):
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = f"not installed (extra {extra[1]})" if extra else "missing"
    return found


def _machine() -> dict[str, str]:
    import torch

    from genesis.data.fetch import cache_root
    from genesis.decoding.loop import fast_dtype

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "system": platform.platform(),
        "device": f"{device.type} ({named})",
        "decodes in": str(fast_dtype(device)).removeprefix("torch."),
        "processors": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "cache": str(cache_root()),
    }


def _operations() -> dict[str, str]:
    """For each operation with a kernel which path it takes here, and why."""
    import torch

    from genesis import ops

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {}
    for name in ops.KERNELS:
        served, why = ops.path(name, device)
        found[name] = why if served else f"PyTorch reference: {why}"
    return found


def _presets() -> list[dict[str, Any]]:
    """Each preset, and whether its files have the sums in its ``SHA256SUMS``."""
    from genesis import registry

    return [{"name": name, **_sums(path)} for name, path in registry.presets().items()]


def _sums(folder: Path) -> dict[str, Any]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {"ok": False, "said": f"{SUMS} is missing; install again"}
    for line in lines:
        wanted, _, name = line.partition("  ")
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return {"ok": False, "said": f"{name}: {error.strerror}; install again"}
        if found != wanted:
            return {"ok": False, "said": f"{name} has SHA-256 {found[:12]}..., not {wanted[:12]}...; install again"}
    names = ", ".join(line.partition("  ")[2] for line in lines)
    return {"ok": bool(lines), "said": f"{names or 'nothing'} unchanged"}


def _self_tests() -> list[dict[str, Any]]:
    """A few items of the default preset of every domain that has one."""
    from genesis import registry

    shipped = registry.presets()
    names = [name for name in registry.domains() if any(preset.startswith(f"{name}-") for preset in shipped)]
    return [{"name": name, **_self_test(name)} for name in names]


def _self_test(name: str) -> dict[str, Any]:
    import genesis

    began = time.monotonic()
    try:
        report = genesis.load(name).generate(ITEMS, seed=0, workers=1).report()
    except Exception as error:  # a doctor reports every illness
        return {"ok": False, "said": f"{type(error).__name__}: {error}"}
    spent = duration(time.monotonic() - began)
    return {"ok": report.returned == ITEMS, "said": f"{report.returned} of {ITEMS} items in {spent}, loading included"}


def _text(found: dict[str, Any]) -> str:
    parts = [f"{title}\n{_indented(list(found[title].items()))}" for title in ("versions", "machine", "operations")]
    for title in ("presets", "self_test"):
        rows: list[tuple[str, ...]] = [
            (check["name"], "ok" if check["ok"] else "FAILED", check["said"]) for check in found[title]
        ]
        parts.append(f"{title.replace('_', '-')}\n{_indented(rows or [('none',)])}")
    return "\n\n".join(parts)


def _indented(rows: Sequence[Sequence[str]]) -> str:
    lines = table([""] * len(rows[0]), rows).splitlines()
    return "\n".join(f"  {line}" for line in lines)
