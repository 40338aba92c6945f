"""What a run leaves behind: the first of equal items, the same bytes after any interruption, a manifest that fits."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from library_of_words import drawn, fake_source, winners

from genesis.batch import settle, shards
from genesis.batch.columns import key128
from genesis.batch.library import MANIFEST, PLAN, Library
from genesis.batch.local import Inline
from genesis.batch.plan import Order, Plan
from genesis.batch.run import Run
from genesis.batch.session import begin, go_on, status
from genesis.batch.tally import Tally
from genesis.batch.verify import verify
from genesis.batch.worker import Job, Source, draw_shard, work
from genesis.drawing import Drawn
from genesis.engine import Engine
from genesis.errors import GenesisError, InputError, UsageError

Make = Callable[..., Plan]


class Words:
    """Runs of the fake drawer, and what their libraries hold."""

    def __init__(self, engine: Engine, make_plan: Make) -> None:
        self.engine, self.make_plan = engine, make_plan

    def open(self, folder: Path, **settings: Any) -> tuple[Library, Source]:
        plan = self.make_plan(**{"measure": [], "count": 500, **settings})
        order = Order.of(plan, self.engine)
        return Library.create(folder, order), fake_source(order, self.engine)

    def run(self, folder: Path, stop: Callable[[int], None] | None = None, **settings: Any) -> Tally:
        library, source = self.open(folder, **settings)

        def stopping(job: Job) -> int:
            if stop:
                stop(job.shard)
            return draw_shard(source, job)

        return Run(library, source, Inline(stopping)).run()


@pytest.fixture
def words(engine: Engine, make_plan: Make, monkeypatch: pytest.MonkeyPatch) -> Words:
    monkeypatch.setattr(shards.os, "fsync", lambda handle: None)  # 15 ms each; no test here cuts the power
    return Words(engine, make_plan)


def rows(folder: Path) -> list[tuple[int, str]]:
    table = pq.read_table(folder)
    return list(zip(table["index"].to_pylist(), table["item"].to_pylist(), strict=True))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_of_equal_items_the_lowest_index_stays_and_the_count_is_exact(words: Words, tmp_path: Path) -> None:
    tally = words.run(tmp_path / "lib")
    expected = winners(500)
    assert rows(tmp_path / "lib") == expected
    assert tally.returned == tally.distinct == 500
    assert tally.drawn == expected[-1][0] + 1, "nobody drew behind the item that filled the library"
    assert tally.valid == sum(drawn(i).key is not None for i in range(tally.drawn))
    assert not list((tmp_path / "lib" / "_drafts").iterdir())
    assert verify(tmp_path / "lib") == []


def test_the_cut_into_shards_and_batches_changes_no_row(words: Words, tmp_path: Path) -> None:
    hashes = set()
    for shard, batch in ((32, 16), (8, 5), (4096, 512)):
        out = tmp_path / str(shard)
        words.run(out, shard=shard, batch_size=batch)
        hashes.add(status(out).hash)
    assert len(hashes) == 1


def test_molecules_of_a_run_are_those_of_generate(
    make_plan: Make, engine: Engine, run_here: Callable[..., Any], tmp_path: Path
) -> None:
    plan = make_plan(count=60, target={"logp": "1:3"}, sweep={"mol_weight": [150, 250]}, temperature=0.5)
    library, tally = run_here(plan, tmp_path / "lib")
    hits = engine.generate(60, {"logp": (1, 3), "mol_weight": [150.0, 250.0]}, temperature=0.5)
    table = pq.read_table(tmp_path / "lib")
    assert table["item"].to_pylist() == hits.keys
    assert table["index"].to_pylist() == hits.index
    assert table["log_prob"].to_pylist() == pytest.approx(hits.log_prob)
    assert table["novel"].to_pylist() == hits.novel
    for name, values in hits.columns().items():
        if name in table.column_names and name not in ("item", "seed"):
            assert table[name].to_pylist() == values, name
    report, said = hits.report(), tally.report(library.order, True, 1.0, False)
    assert said.error == pytest.approx(report.error)
    assert said.inside["logp"] == report.inside["logp"]
    assert (said.valid, said.unique, said.novel, said.drawn) == (
        report.valid, report.unique, pytest.approx(report.novel), report.drawn,
    )  # fmt: skip
    assert tally.groups == (hits_in(hits.index, 0), hits_in(hits.index, 1))
    for tokens, key in zip(table["tokens"].to_pylist()[:10], hits.keys, strict=False):
        import torch

        item = engine.domain.decode(torch.tensor(tokens))
        assert engine.domain.key(item) == key


def hits_in(index: list[int], group: int) -> int:
    return sum(i % 2 == group for i in index)


def test_columns_are_typed_and_every_shard_says_where_it_came_from(
    make_plan: Make, run_here: Callable[..., Any], tmp_path: Path
) -> None:
    library, _ = run_here(make_plan(count=40, target={"logp": "1:3", "pic50": 6}), tmp_path / "lib")
    schema = pq.read_schema(tmp_path / "lib" / "part-00001.parquet")
    types = {field.name: str(field.type) for field in schema}
    assert list(types)[:3] == ["index", "item", "item_key"]
    assert types["item_key"] == "fixed_size_binary[16]"
    assert types["logp"] == types["asked_logp_low"] == types["asked_pic50"] == "double"
    assert (types["rings"], types["log_prob"], types["novel"]) == ("int64", "float", "bool")
    assert types["tokens"].startswith("list<")
    assert "pic50" not in types, "a column of a training file cannot be measured"
    note = json.loads(schema.metadata[b"genesis"])
    assert (note["model"], note["licence"], note["seed"], note["corpus"]) == ("tiny", "CC0", 0, "none")
    assert (note["first"], note["last"]) == (32, 64)
    table = pq.read_table(tmp_path / "lib")
    assert table["item_key"].to_pylist() == [key128(item) for item in table["item"].to_pylist()]
    assert set(table["model_hash"].to_pylist()) == {library.order.model_hash}


def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_bytes(words: Words, tmp_path: Path) -> None:
    words.run(tmp_path / "whole")
    expected = files(tmp_path / "whole")
    for at in range(0, len(expected) + 1, 3):
        out = tmp_path / f"stopped{at}"

        def stop(shard: int, at: int = at) -> None:
            if shard == at:
                raise KeyboardInterrupt

        if at < len(expected):
            with pytest.raises(KeyboardInterrupt):
                words.run(out, stop)
            assert not status(out).complete
        words.run(out)
        assert files(out) == expected
        assert status(out).hash == status(tmp_path / "whole").hash


def test_a_shard_that_is_removed_is_drawn_again(words: Words, tmp_path: Path) -> None:
    out = tmp_path / "lib"
    words.run(out)
    expected = files(out)
    for name in ("part-00000.parquet", sorted(expected)[-1], "part-00004.parquet"):
        (out / name).unlink()
        assert any(name in line for line in verify(out))
        words.run(out)
        assert files(out) == expected
        assert verify(out) == []


def test_a_shard_that_was_damaged_before_the_run_goes_on_is_refused(words: Words, tmp_path: Path) -> None:
    """Its keys decide which of the items behind it are new: a flipped bit in one would double an item."""
    words.run(tmp_path / "whole")
    out = tmp_path / "lib"

    def stop(shard: int) -> None:
        if shard == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        words.run(out, stop)
    damaged = out / "part-00002.parquet"
    content = bytearray(damaged.read_bytes())
    content[content.index(pq.read_table(damaged)["item_key"][5].as_py())] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=r"part-00002.parquet: not the bytes that were written; remove it and resume"):
        words.run(out)
    damaged.unlink()
    words.run(out)
    assert files(out) == files(tmp_path / "whole")


def test_a_manifest_is_made_again_from_the_shards(words: Words, tmp_path: Path) -> None:
    out = tmp_path / "lib"
    words.run(out)
    before = status(out)
    (out / MANIFEST).unlink()
    words.run(out)
    after = status(out)
    assert (after.hash, after.total, after.complete) == (before.hash, before.total, True)


def test_an_array_of_jobs_draws_and_one_commits(words: Words, tmp_path: Path) -> None:
    words.run(tmp_path / "whole")
    out = tmp_path / "parts"
    for part in ((64, 400), (0, 64), (400, 100_000)):
        library, source = words.open(out)
        seen: list[int] = []

        def watched(job: Job, source: Source = source, seen: list[int] = seen) -> int:
            seen.append(job.first)
            return draw_shard(source, job)

        Run(library, source, Inline(watched)).draw(*part)
        assert all(part[0] <= first < part[1] for first in seen)
        assert not files(out), "drawn, not committed"
    assert status(out).waiting == Library.open(out).order.shards
    words.run(out, lambda shard: pytest.fail("everything was drawn already"))
    assert files(out) == files(tmp_path / "whole")


def test_a_draft_of_another_process_is_taken_and_its_shard_too(words: Words, tmp_path: Path) -> None:
    """A second process on the same folder does double work and no harm."""
    words.run(tmp_path / "whole")
    out = tmp_path / "lib"
    turns = iter(range(1, 100))

    def second(shard: int) -> None:
        if next(turns) == 3:
            words.run(out)

    words.run(out, second)
    assert files(out) == files(tmp_path / "whole")


def test_too_few_different_items_are_a_shortfall(words: Words, tmp_path: Path) -> None:
    tally = words.run(tmp_path / "lib", count=5_000, shard=2_000)
    library = Library.open(tmp_path / "lib")
    assert tally.drawn == library.order.limit
    assert tally.returned == len({drawn(i).key for i in range(tally.drawn)} - {None})
    assert status(tmp_path / "lib").complete
    report = tally.report(library.order, False, 1.0, False)
    assert report.shortfall.startswith(f"only {tally.returned:,} of 5,000")


def test_the_closest_are_kept_shard_by_shard(make_plan: Make, run_here: Callable[..., Any], tmp_path: Path) -> None:
    target = {"mol_weight": 180}
    library, tally = run_here(make_plan(count=25, target=target, keep_best=3), tmp_path / "best")
    _, plain = run_here(make_plan(count=25, target=target), tmp_path / "plain")
    assert tally.returned == 25
    assert tally.distinct // 3 >= 25 > tally.distinct // 3 - library.order.shard
    assert tally.error["mol_weight"] < 0.7 * plain.error["mol_weight"]
    assert verify(tmp_path / "best") == []
    first = pq.read_table(tmp_path / "best" / "part-00000.parquet")
    assert len(first) == 32 // 3
    (tmp_path / "best" / "part-00001.parquet").unlink()
    expected = status(tmp_path / "best").hash
    run_here(make_plan(count=25, target=target, keep_best=3), tmp_path / "best")
    assert status(tmp_path / "best").hash == expected


def test_what_could_not_be_measured_is_the_farthest(words: Words, tmp_path: Path) -> None:
    settings = {"count": 60, "measure": ["mol_weight"], "target": {"mol_weight": 180}, "keep_best": 4}
    library, source = words.open(tmp_path / "lib", **settings)

    def draw(first: int, last: int) -> list[Drawn]:
        weight = {0: math.nan, 1: 180.0, 2: 250.0, 3: 400.0}
        return [dataclasses.replace(drawn(i), measured={"mol_weight": weight[i % 4]}) for i in range(first, last)]

    chosen = dataclasses.replace(source, draw=draw)
    Run(library, chosen, Inline(lambda job: draw_shard(chosen, job))).run()
    weights = pq.read_table(tmp_path / "lib")["mol_weight"].to_pylist()
    assert len(weights) == 60
    assert None not in weights
    assert weights.count(180.0) > 40


def test_flagged_items_are_kept_out_and_counted(words: Words, tmp_path: Path) -> None:
    library, source = words.open(tmp_path / "lib", count=200)
    screened = dataclasses.replace(source, screen=lambda item: "sevens" if item.endswith("7") else None)
    tally = Run(library, screened, Inline(lambda job: draw_shard(screened, job))).run()
    kept = [item for _, item in rows(tmp_path / "lib")]
    assert len(kept) == 200 == tally.returned
    assert not any(item.endswith("7") for item in kept)
    sevens = sum((drawn(i).key or "").endswith("7") for i in range(tally.drawn))
    assert tally.screened == {"sevens": sevens}
    assert tally.drawn == tally.valid + sum(drawn(i).key is None for i in range(tally.drawn))
    assert f"screen    {sevens:,}" in str(tally.report(library.order, False, 1.0, False))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"word-7\x00" not in path.read_bytes()


def test_an_item_that_cannot_be_drawn_is_recorded_and_passed_over(words: Words, tmp_path: Path) -> None:
    library, source = words.open(tmp_path / "lib", count=100)

    def draw(first: int, last: int) -> list[Drawn]:
        if first <= 37 < last or first <= 41 < last:
            raise ZeroDivisionError("no\nsuch item")
        return [drawn(i) for i in range(first, last)]

    broken = dataclasses.replace(source, draw=draw)
    tally = Run(library, broken, Inline(lambda job: draw_shard(broken, job))).run()
    assert tally.poison == {"37": "ZeroDivisionError: no such item", "41": "ZeroDivisionError: no such item"}
    assert tally.returned == 100
    found = {index for index, _ in rows(tmp_path / "lib")}
    assert not found & {37, 41}
    assert {35, 36, 38, 40, 42} & found


def test_a_domain_that_fails_on_everything_stops_the_run(words: Words, tmp_path: Path) -> None:
    library, source = words.open(tmp_path / "lib", count=100)

    def draw(first: int, last: int) -> list[Drawn]:
        raise ValueError("broken")

    broken = dataclasses.replace(source, draw=draw)
    with pytest.raises(GenesisError, match=r"16 items of shard 0 fail, the first at 0: ValueError: broken"):
        Run(library, broken, Inline(lambda job: draw_shard(broken, job))).run()


@pytest.mark.parametrize("room", [1, 3, 8])
def test_memory_that_runs_out_halves_the_batch_and_changes_nothing(words: Words, tmp_path: Path, room: int) -> None:
    words.run(tmp_path / "whole")
    library, source = words.open(tmp_path / "lib")
    asked: list[int] = []

    def draw(first: int, last: int) -> list[Drawn]:
        asked.append(last - first)
        if last - first > room:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return [drawn(i) for i in range(first, last)]

    tight = dataclasses.replace(source, draw=draw)
    run = Run(library, tight, Inline(lambda job: draw_shard(tight, job)))
    run.run()
    assert files(tmp_path / "lib") == files(tmp_path / "whole")
    assert run.batch <= room
    assert sum(size > room for size in asked) <= 8, "what fits is remembered"


def test_no_memory_for_one_item_stops_with_a_hint(words: Words, tmp_path: Path) -> None:
    library, source = words.open(tmp_path / "lib")

    def draw(first: int, last: int) -> list[Drawn]:
        raise MemoryError

    tight = dataclasses.replace(source, draw=draw)
    with pytest.raises(GenesisError, match=r"no memory for a batch of one item.*use fewer --workers"):
        Run(library, tight, Inline(lambda job: draw_shard(tight, job))).run()


def test_a_full_disk_stops_with_everything_kept(words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    out = tmp_path / "lib"
    words.run(tmp_path / "whole")
    room = iter(range(30))

    def fsync(handle: int) -> None:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.os, "fsync", fsync)
    with pytest.raises(GenesisError, match=r"could not write .*No space left on device; everything finished is kept"):
        words.run(out)
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]
    assert 0 < len(files(out)) < len(files(tmp_path / "whole"))
    monkeypatch.setattr(shards.os, "fsync", lambda handle: None)
    words.run(out)
    assert files(out) == files(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of the size that is given, again for another size; only root may make one."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size: str) -> Path:
        more = "remount," if place.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{more}size={size}", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(words: Words, tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    words.run(tmp_path / "whole", shard=16)
    out = small_disk("150k") / "lib"
    for _ in range(2):
        with pytest.raises(GenesisError, match="No space left on device; everything finished is kept"):
            words.run(out, shard=16)
        assert 0 < len(files(out)) < len(files(tmp_path / "whole"))
        assert files(out).items() <= files(tmp_path / "whole").items()
    small_disk("4m")
    words.run(out, shard=16)
    assert files(out) == files(tmp_path / "whole")
    assert verify(out) == []


def test_a_file_system_without_hard_links(words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    words.run(tmp_path / "whole")
    monkeypatch.setattr(shards.os, "link", link)
    words.run(tmp_path / "lib")
    assert files(tmp_path / "lib") == files(tmp_path / "whole")


def test_a_folder_that_is_not_this_run_is_refused(words: Words, tmp_path: Path) -> None:
    out = tmp_path / "lib"
    words.run(out, count=50)
    with pytest.raises(UsageError, match=r"holds another run \(count: 50 there, 60 here; .*name another folder"):
        words.run(out, count=60)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"is not empty and holds no run"):
        words.run(tmp_path / "full")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / f".{PLAN}.host.1.tmp").touch()
    words.run(tmp_path / "killed", count=50)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; name a folder"):
        words.run(tmp_path / "file")
    with pytest.raises(InputError, match=r"no batch run here \(_plan.json is missing\)"):
        Library.open(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 9}', '{"format": 1, "plan": {}}', "[" * 9_999])
def test_an_unreadable_order_or_manifest_is_one_line(words: Words, tmp_path: Path, content: str) -> None:
    out = tmp_path / "lib"
    words.run(out, count=50)
    whole = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(content)
    with pytest.raises(InputError, match=r"unreadable .*remove it and resume: it is made again from the shards"):
        words.run(out, count=50)
    (out / MANIFEST).write_text(whole.replace('"returned": 50', '"returned": 49', 1))
    with pytest.raises(InputError, match="its own sum does not fit it"):
        status(out)
    (out / PLAN).write_text(content)
    with pytest.raises(InputError) as caught:
        Library.open(out)
    assert "\n" not in str(caught.value)


def test_a_changed_model_and_a_changed_library_are_refused(
    make_plan: Make, engine: Engine, model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    library = begin(make_plan(model=str(copy)), engine, tmp_path / "lib")
    moved = library.order.model_copy(update={"path": str(copy)})
    (tmp_path / "lib" / PLAN).write_text(moved.model_dump_json())
    assert go_on(tmp_path / "lib")[0].order.name == library.order.name
    (copy / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="the model was changed since this run began; put it back"):
        go_on(tmp_path / "lib")
    shutil.rmtree(copy)
    with pytest.raises(InputError, match="the model of this run is not there any more"):
        go_on(tmp_path / "lib")
    older = library.order.model_copy(update={"genesis": "0.0.1", "path": str(model)})
    (tmp_path / "lib" / PLAN).write_text(older.model_dump_json())
    with pytest.raises(UsageError, match=r"begun with something else \(genesis: 0.0.1 there, .*Put that back"):
        go_on(tmp_path / "lib")


def test_a_worker_that_outlived_its_run_draws_nothing_into_another(
    words: Words, engine: Engine, tmp_path: Path
) -> None:
    library, _ = words.open(tmp_path / "lib")
    other = Order.of(words.make_plan(count=9), engine)
    job = Job(str(library.folder), other.name, 0, 0, 32, 16)
    with pytest.raises(InputError, match="another run was put there while this one went on"):
        work(job)
    assert library.drafts() == []


def test_no_room_for_the_estimate_is_refused_before_the_work(
    make_plan: Make, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from genesis.batch import session

    monkeypatch.setattr(session.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**6))
    with pytest.raises(GenesisError, match=r"10,000,000 items take about .* GB, and 1.0 MB are free; make room"):
        begin(make_plan(count=10**7), engine, tmp_path / "lib")
    assert not (tmp_path / "lib").exists(), "the same folder can be asked for fewer"
    library = begin(make_plan(count=150), engine, tmp_path / "lib")
    monkeypatch.setattr(session.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**3))
    with pytest.raises(GenesisError, match="150 items take about"):
        go_on(library.folder)


def test_verify_finds_one_flipped_byte_in_any_shard(words: Words, tmp_path: Path) -> None:
    import random

    out = tmp_path / "lib"
    words.run(out, count=120)
    rng = random.Random(0)
    for name, content in sorted(files(out).items()):
        for at in (0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(3))):
            flipped = bytearray(content)
            flipped[at] ^= 1 << rng.randrange(8)
            (out / name).write_bytes(flipped)
            assert [line for line in verify(out) if line.startswith(name)], f"byte {at} of {name}"
        (out / name).write_bytes(content)
    assert verify(out) == []


def test_verify_finds_what_a_sum_cannot(words: Words, tmp_path: Path) -> None:
    """A manifest that somebody made to fit: its rows are still looked at."""
    from genesis.batch.library import Manifest, encoded, sha256
    from genesis.batch.run import _entry

    out = tmp_path / "lib"
    words.run(out, count=120)
    library = Library.open(out)
    manifest = library.manifest()
    table = pq.read_table(out / "part-00001.parquet")
    doubled = table.slice(0, len(table) - 1)
    doubled = settle_concat(doubled, pq.read_table(out / "part-00000.parquet").slice(0, 1), table)
    (out / "part-00001.parquet").write_bytes(encoded(doubled))
    content = (out / "part-00001.parquet").read_bytes()
    forged = Manifest.model_validate(manifest.model_dump())
    forged.shards["part-00001.parquet"] = _entry(doubled, content, 32, 64)
    assert forged.shards["part-00001.parquet"].sha256 == sha256(content)
    library.write_manifest(forged)
    said = "\n".join(verify(out))
    assert "part-00001.parquet: an item is there twice" in said
    assert "part-00001.parquet: indices are out of order or out of range" in said
    assert "_manifest.json: its counts or its hash are not those of the shards" in said
    (out / "part-00099.parquet").write_bytes(content)
    assert "part-00099.parquet: no shard of the manifest" in "\n".join(verify(out))


def settle_concat(one: Any, other: Any, like: Any) -> Any:
    import pyarrow

    return pyarrow.concat_tables([one, other]).replace_schema_metadata(like.schema.metadata)


def test_words_of_a_table_are_its_keys() -> None:
    import pyarrow

    table = pyarrow.table({"item_key": pyarrow.array([key128("a"), key128("b")], pyarrow.binary(16))})
    assert settle.words(table).tobytes() == key128("a") + key128("b")
