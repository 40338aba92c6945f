"""What a report says of each score, and what a model keeps for it."""

from __future__ import annotations

import json
from dataclasses import replace

from genesis_domains.music import DOMAIN, account
from genesis_domains.music.score import Origin
from tests.music.test_evaluation import a_score
from tests.music.test_families import voices


def test_a_model_keeps_a_judge_and_the_melodies(tmp_path):
    known = [a_score(style, seed) for style in ("leaps", "steps") for seed in range(30)]
    DOMAIN.learn(iter(known), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {account.JUDGE, account.MELODIES}
    new = [a_score("leaps", 100), known[40], a_score("steps", 101)]
    columns = DOMAIN.report(new, tmp_path)
    assert columns["judged_style"] == ["leaps", "steps", "steps"]
    assert all(0.5 < score <= 1 for score in columns["style_score"])
    assert columns["copied_notes"][1] == 64
    assert columns["nearest"][1] == known[40].origin.source
    assert max(columns["copied_notes"][0], columns["copied_notes"][2]) < 30
    assert "voice_leading_faults" not in columns


def test_one_style_needs_no_judge_and_no_folder_no_melodies(tmp_path):
    DOMAIN.learn([replace(a_score("leaps", 1), origin=Origin())], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {account.MELODIES}
    chorale = voices([72, 72, 72, 72], [65, 65, 65, 65], [55, 57, 57, 57], [48, 50, 50, 50])
    assert DOMAIN.report([chorale, a_score("leaps", 2)], None) == {"voice_leading_faults": [1, None]}


def test_a_report_lies_beside_the_files(tmp_path, engine):
    engine.generate(2, {"bars": 3, "key": "G minor"}, seed=5).write(tmp_path / "tunes")
    rows = json.loads((tmp_path / "tunes" / "report.json").read_text())
    assert [row["file"] for row in rows] == ["0000.mid", "0001.mid"]
    for row in rows:
        assert row["asked_key"] == "G minor"
        assert row["bars"] == row["asked_bars"] == 3
        assert {"meter", "lowest", "highest", "tempo", "seed", "model", "licence", "log_prob"} <= set(row)
        assert row["seed"] == 5
