"""Corpora: built once from what was fetched, with styles, licences and families; and the published JSB chorales."""

from __future__ import annotations

import io
import json
import lzma
import zipfile

import pytest

from genesis.data import fetch, packages, sources
from genesis.errors import ResourceError, UsageError
from genesis.metrics.sets import held_out
from genesis_domains.music import DOMAIN, codec, corpora, records
from genesis_domains.music.jsb import chorale, voiced
from genesis_domains.music.names import PROGRAMS

ABC = "X:1\nT:One\nM:4/4\nL:1/4\nK:G\nGABc|d2B2|edcB|A4|]\n\nX:2\nT:Two\nM:4/4\nL:1/4\nK:D\nDFAd|f2A2|BcBF|E4|]\n"


def chorale_xml(voices: int) -> bytes:
    time = "<divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type></time>"
    parts = "".join(
        f'<part id="P{v}"><measure><attributes>{time}</attributes><note><pitch><step>C</step><octave>{5 - v}</octave>'
        "</pitch><duration>4</duration></note></measure></part>"
        for v in range(voices)
    )
    names = "".join(f'<score-part id="P{v}"/>' for v in range(voices))
    return f"<score-partwise><part-list>{names}</part-list>{parts}</score-partwise>".encode()


@pytest.fixture
def wheel(tmp_path):
    target = tmp_path / "music21.whl"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("music21/corpus/oneills1850/a.abc", ABC)
        archive.writestr("music21/corpus/oneills1850/b.abc", "X:1\nM:4/4\nL:1/4\nK:A\nABcd|e2c2|fedc|B4|]\n")
        archive.writestr("music21/corpus/bach/bwv1.6.mxl", packed(chorale_xml(4)))
        archive.writestr("music21/corpus/bach/bwv2.6.mxl", packed(chorale_xml(3)))
        archive.writestr("music21/corpus/palestrina/x.krn", "**kern\n*-\n")
        archive.writestr("music21/harmony.py", "raise SystemExit")
    with packages.opened({target.name: target}, tmp_path / "music21") as files:
        yield files


def packed(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("score.xml", content)
    return out.getvalue()


def lines(path):
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_a_corpus_is_built_from_the_wheel_with_styles_licences_and_families(tmp_path, wheel):
    seen = []
    rejected = corpora.build("music21", wheel, tmp_path, 1, lambda *progress: seen.append(progress))
    found = lines(tmp_path / corpora.SCORES)
    assert corpora.count(tmp_path / corpora.SCORES) == {"bach-chorale": 1, "irish": 3}
    assert {row["licence_tier"] for row in found} == {"free"}
    tunes = [row["score"] for row in found if row["score"]["style"] == "irish"]
    assert tunes[0]["family"] == tunes[2]["family"] != tunes[1]["family"]  # the same tune in another key
    assert tunes[0]["source"] == "music21/corpus/oneills1850/a.abc:1"
    assert [PROGRAMS.index(track["instrument"]) for track in tunes[0]["tracks"]] == [PROGRAMS.index("fiddle")]
    (bad,) = rejected
    assert (bad.row, bad.text) == (1, "music21/corpus/bach/bwv2.6.mxl")
    assert bad.reason == "3 sounding parts; bach-chorale has 4"
    assert seen[-1][:2] == (4, 4)


def test_workers_change_nothing(tmp_path, wheel, monkeypatch):
    monkeypatch.setattr(corpora, "CHUNK", 1)
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, workers in ((one, 1), (two, 2)):
        folder.mkdir()
        corpora.build("music21", wheel, folder, workers)
    assert (one / corpora.SCORES).read_bytes() == (two / corpora.SCORES).read_bytes()


def test_songs_are_styled_by_their_composer(tmp_path):
    files = {}
    for number, folder in enumerate(("Schubert,_Franz", "Debussy,_Claude", "Parry,_Hubert", "Verdi,_Giuseppe")):
        path = tmp_path / f"lc{number}.mxl"
        path.write_bytes(packed(chorale_xml(2)))
        files[f"scores/{folder}/_/{number}/lc{number}.mxl"] = path
    corpora.build("openscore", files, tmp_path, 1)
    rows = [row["score"] for row in lines(tmp_path / corpora.SCORES)]
    assert {row["composer"].split(",")[0]: row.get("style", "") for row in rows} == {
        "Debussy": "melodie", "Parry": "english-song", "Schubert": "lied", "Verdi": "",
    }  # fmt: skip
    assert [track["instrument"] for track in rows[0]["tracks"]] == ["voice", "piano"]


def test_an_unknown_corpus_teaches(tmp_path):
    with pytest.raises(UsageError, match=r"no corpus 'nottingam' of music; .*nottingham"):
        corpora.build("nottingam", {}, tmp_path)


def test_every_music_corpus_can_be_built():
    named = {name for name, corpus in sources.CORPORA.items() if corpus.domain == "music"}
    assert named == {"jsb", *corpora.SOURCES}
    for name, own in corpora.SOURCES.items():
        order = list(sources.TIERS)
        assert all(order.index(source.tier) <= order.index(sources.get(name).tier) for source in own)


def test_frames_become_notes_and_the_sequence_says_them_all():
    frames = [[72, 67, 64, 48]] * 4 + [[74, 67, 62, 47]] * 4 + [[74, -1, 62, 55]] * 4 + [[72, 64, 60, 48]] * 8
    score = chorale(frames)
    assert [len(track.notes) for track in score.tracks] == [3, 2, 3, 4]
    assert [note[:3] for note in score.tracks[1].notes] == [(0, 67, 48), (72, 64, 48)]
    assert len(score.meters) == 2
    back = codec.decode(codec.encode(score))
    assert back is not None
    assert [
        [next((n.pitch for n in track.notes if n.onset <= t * 6 < n.end), -1) for track in back.tracks]
        for t in range(len(frames))
    ] == frames


def test_the_voices_that_rest_are_those_that_would_have_to_leap():
    full = [72.0, 67.0, 64.0, 48.0]
    assert voiced([full, [74.0, 64.0, 47.0], [], [45.0], full]) == [
        [72, 67, 64, 48], [74, -1, 64, 47], [-1] * 4, [-1, -1, -1, 45], [72, 67, 64, 48],
    ]  # fmt: skip


def test_the_published_split(shared, tmp_path):
    packed = shared / "data" / "jsb_chorales" / "jsb-chorales-16th.json.xz"
    if not packed.is_file():
        pytest.skip("no JSB chorales in `shared`")
    plain = tmp_path / "jsb-chorales-16th.json"
    plain.write_bytes(lzma.decompress(packed.read_bytes()))
    corpora.build("jsb", {plain.name: plain}, tmp_path)
    splits = {name: lines(tmp_path / f"{name}.jsonl") for name in ("train", "valid", "test")}
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 229, "valid": 76, "test": 77}
    for row in splits["test"]:
        score = records.from_json(row["score"])
        assert codec.decode(codec.encode(score)) == score


def cached(name: str):
    try:
        return fetch.cached(name)
    except ResourceError as error:
        pytest.skip(str(error))


def test_the_real_corpus_comes_back_from_its_tokens():
    folder = cached("music21")
    if not (folder / corpora.SCORES).exists():
        pytest.skip("`genesis data fetch music21` builds the scores")
    found = lines(folder / corpora.SCORES)
    assert len(found) > 4_500
    families = {}
    for row in found[::23]:
        score = records.from_json(row["score"])
        assert codec.decode(codec.encode(score)) == score
        families.setdefault(DOMAIN.group(score), []).append(score)
    share = sum(held_out(name, DOMAIN.held_out) for name in families) / len(families)
    assert 0.01 < share < 0.12
