"""The automaton of what is given: given events come out as they are, free cells stay inside themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis.errors import UsageError
from genesis_domains.music import codec
from genesis_domains.music.chords import spread
from genesis_domains.music.frame import Frame, cost, needed
from genesis_domains.music.names import program_of
from genesis_domains.music.score import TICKS, Score
from genesis_domains.music.sheet import ANY, Sheet, tones
from genesis_domains.music.vocabulary import BAR, SIZE

CPU = torch.device("cpu")
EOS = 2


def walks(frame: Frame, rows: int, room: int, seed: int) -> list[list[int]]:
    """Random sequences that the automaton allows, bars and the end preferred."""
    generator = torch.Generator().manual_seed(seed)
    state, out = frame.start(rows, CPU), [list[int]() for _ in range(rows)]
    is_open = torch.ones(rows, dtype=torch.bool)
    for step in range(room):
        allowed = frame.allowed(state, room - step)
        assert allowed[is_open].any(1).all(), f"no token is allowed after {out}"
        weights = allowed.float()
        weights[:, BAR : BAR + SIZE["bar"]] *= 30
        weights[:, EOS] *= 30
        weights[~is_open, EOS] = 1
        token = torch.multinomial(weights, 1, generator=generator)[:, 0]
        for row in torch.nonzero(is_open)[:, 0].tolist():
            if token[row] == EOS:
                is_open[row] = False
            else:
                out[row].append(int(token[row]))
        if not is_open.any():
            return out
        state = frame.advance(state, token)
    raise AssertionError("the room ran out")


def cells(score: Score) -> tuple[int, int]:
    return len(score.tracks), len(score.meters)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), share=st.sampled_from([0.0, 0.2, 0.5, 1.0]), room=st.integers(0, 250))
def test_any_walk_keeps_what_is_given(hand, seed, share, room):
    rng = np.random.default_rng(seed)
    score = hand[seed % len(hand)]
    sheet = Sheet.of(score, rng.random(cells(score)) < share)
    length = cost(sheet) + needed(sheet) + room
    for tokens in walks(Frame(length, [sheet]), 2, length, seed):
        found = codec.drawn(tokens)
        assert found is not None
        assert len(found.tracks) == len(score.tracks)
        assert found.meters == score.meters
        for track, own in enumerate(sheet.given):
            drawn = {note[:3] for note in found.tracks[track].notes}
            assert {note[:3] for note in own} <= drawn
            for onset, _, duration in {(o, p, d) for o, p, d in drawn} - {note[:3] for note in own}:
                assert sheet.free[track, bar := sheet.bar(onset)]
                assert onset + duration <= sheet.starts[-1]
                assert bar < len(score.meters)
        filled = sheet.filled(found.tracks, found.tempo, 0, len(score.meters))
        assert not filled.free.any()
        for own, notes in zip(sheet.given, filled.notes, strict=True):
            assert set(own) <= set(notes)
        for track, bar in np.argwhere(~sheet.free):
            inside = {n for n in filled.notes[track] if sheet.bar(n.onset) == bar}
            assert inside == {n for n in score.tracks[track].notes if sheet.bar(n.onset) == bar}


def test_nothing_free_gives_the_score_itself(duet):
    sheet = Sheet.of(duet, np.zeros(cells(duet), np.bool_))
    (tokens,) = walks(Frame(400, [sheet]), 1, 400, 0)
    assert codec.decode(tokens) == duet
    assert tokens == codec.encode(duet)  # lengths are said where the codec says them


def test_rows_have_sheets_of_their_own(duet, hand):
    sheets = [Sheet.of(score, np.zeros(cells(score), np.bool_)) for score in (duet, hand[0], hand[2])]
    found = walks(Frame(400, sheets), 6, 400, 0)
    assert [codec.decode(tokens) for tokens in found] == [duet, hand[0], hand[2]] * 2


def test_the_last_bar_sounds(duet):
    free = np.zeros(cells(duet), np.bool_)
    free[:, -1] = True
    for seed in range(10):
        for tokens in walks(Frame(400, [Sheet.of(duet, free)]), 2, 400, seed):
            assert codec.decode(tokens) is not None


def test_notes_on_beats_belong_to_the_chord(duet):
    free = np.zeros(cells(duet), np.bool_)
    free[1] = True
    sheet = Sheet.of(duet, free)
    sheet = replace(sheet, harmonies=spread("C F G7 C", sheet.starts))
    heard = 0
    for tokens in walks(Frame(1_000, [sheet]), 6, 1_000, 1):
        found = codec.drawn(tokens)
        assert found is not None
        assert found.harmonies == sheet.harmonies
        for note in found.tracks[1].notes:
            if note.onset % TICKS == 0:
                harmony = sheet.chord_at(note.onset)
                assert harmony is not None
                assert note.pitch % 12 in tones(harmony)
                heard += 1
    assert heard


def test_programs_are_given_or_the_models_choice_but_never_drums(duet):
    free = np.ones(cells(duet), np.bool_)
    sheet = replace(Sheet.of(duet, free), programs=(ANY, program_of("cello")))
    for tokens in walks(Frame(400, [sheet]), 8, 400, 3):
        found = codec.drawn(tokens)
        assert found is not None
        assert found.tracks[1].program == program_of("cello")
        assert found.tracks[0].program != program_of("drums")


def test_what_does_not_fit_is_refused_before_any_work(duet):
    with pytest.raises(UsageError, match=r"8 bars with what is given in them take \d+ tokens.*room for 60"):
        Frame(60, [Sheet.of(duet, np.zeros(cells(duet), np.bool_))])


def test_the_range_binds_what_is_free_and_not_what_is_given(duet):
    free = np.zeros(cells(duet), np.bool_)
    free[0, 4:] = True
    for tokens in walks(Frame(400, [Sheet.of(duet, free)], pitches=(60, 64)), 4, 400, 5):
        found = codec.drawn(tokens)
        assert found is not None
        for note in found.tracks[0].notes:
            assert note.onset < 4 * 96 or 60 <= note.pitch <= 64
