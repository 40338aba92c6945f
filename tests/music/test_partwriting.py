"""Four voices by rule: walks at random through the automaton make no fault that the count of faults would find."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from genesis_domains.music import codec
from genesis_domains.music.automaton import ScoreGrammar
from genesis_domains.music.chorale import RANGES, VOICES, faults
from genesis_domains.music.frame import Frame
from genesis_domains.music.names import METERS, program_of
from genesis_domains.music.partwriting import faultless
from genesis_domains.music.score import LOWEST, Note, Score, Track
from genesis_domains.music.sheet import Sheet
from genesis_domains.music.state import BEFORE, FIELDS, KEYS_OF_PIANO, ONSET, PITCH, WORDS, State
from genesis_domains.music.vocabulary import VOCAB
from tests.music.test_frame import walks

CHORALE = {"style": "bach-chorale", "tracks": 4.0, "meter": "4/4", "bars": 4.0}
CHOIR = (program_of("choir"),) * VOICES
FOUR_FOUR = METERS.index("4/4")


def drawn(asked: dict[str, object], seed: int, rows: int = 8) -> list[Score]:
    found = [codec.decode(tokens) for tokens in walks(ScoreGrammar(200, [asked]), rows, 200, seed)]
    assert all(found)
    return [score for score in found if score is not None]


@pytest.mark.parametrize("seed", range(4))
def test_walks_at_random_make_no_fault_unless_no_note_was_left(seed):
    ruled = [sum(faults(score).values()) for score in drawn(CHORALE, seed)]
    wild = [sum(faults(score).values()) for score in drawn(CHORALE | {"style": "irish"}, seed)]
    assert sum(ruled) <= 0.02 * sum(wild)


def test_the_rule_is_for_four_voices_of_its_style_alone():
    three = drawn(CHORALE | {"tracks": 3.0}, 0, rows=2)
    assert {len(score.tracks) for score in three} == {3}
    low = min(note.pitch for score in three for track in score.tracks[:1] for note in track.notes)
    assert low < RANGES[0][0]


def columns(before: tuple[int, ...], after: tuple[int, ...]) -> Score:
    """Two chords, a quarter note each; voices that stay are held."""
    tracks = []
    for was, is_ in zip(before, after, strict=True):
        notes = (Note(0, was, 48),) if was == is_ else (Note(0, was, 24), Note(24, is_, 24))
        tracks.append(Track(CHOIR[0], notes))
    return Score(key=0, meters=(FOUR_FOUR,), tracks=tuple(tracks))


@pytest.mark.parametrize("before", [(72, 67, 60, 48), (72, 64, 60, 53), (67, 64, 55, 48)])
def test_what_is_forbidden_to_the_bass_is_what_would_count(before):
    """The bass follows an upper voice that moved: each of its notes is judged as the count of faults judges it."""
    for over, move in product(range(3), (-2, 2, 5)):
        after = [*before]
        after[over] += move
        if any(a < b for a, b in pairwise(after)):
            continue
        state = torch.zeros(1, WORDS, dtype=torch.int32)
        for name, value in {"parts": 1, "tracks": VOICES, "start": 0, "position": 24}.items():
            state[0, FIELDS[name]] = value
        state[0, PITCH : PITCH + VOICES] = torch.tensor(after) - LOWEST
        state[0, BEFORE : BEFORE + VOICES] = -1
        state[0, BEFORE + over] = before[over] - LOWEST
        state[0, ONSET + over] = 24
        free = torch.ones(1, VOICES, KEYS_OF_PIANO, dtype=torch.bool)
        allowed = faultless(State.of(state), state, free)[0, VOICES - 1]
        assert not faultless(State.of(state), state, free)[0, over].any()  # it sings already
        for pitch in range(LOWEST, LOWEST + KEYS_OF_PIANO):
            counted = faults(columns(before, (*after[:3], pitch)))
            assert bool(allowed[pitch - LOWEST]) == (sum(counted.values()) == 0), (before, after, pitch, counted)


def test_a_given_melody_is_harmonised_by_rule():
    melody = tuple(Note(24 * i, pitch, 24) for i, pitch in enumerate((67, 69, 71, 72, 74, 72, 71, 69)))
    sheet = Sheet.of(
        Score(
            key=0, meters=(FOUR_FOUR,) * 2, tracks=(Track(CHOIR[0], melody), *(Track(CHOIR[0], ()) for _ in range(3)))
        ),
        torch.tensor([[False] * 2] + [[True] * 2] * 3).numpy(),
    )
    found = [codec.decode(tokens) for tokens in walks(Frame(160, [sheet], parts=True), 8, 160, 3)]
    wild = [codec.decode(tokens) for tokens in walks(Frame(160, [sheet]), 8, 160, 3)]
    assert all(score is not None and score.tracks[0].notes == melody for score in found)
    count = [sum(sum(faults(score).values()) for score in part if score is not None) for part in (found, wild)]
    assert count[0] <= 0.1 * count[1]  # a melody that steps below a held voice crosses it, whatever is written


def test_every_token_stays_possible_where_nothing_is_asked():
    state = ScoreGrammar(64).start(1, torch.device("cpu"))
    assert State.of(state).parts.item() == 0
    assert state.shape[1] == WORDS
    assert ScoreGrammar(64).allowed(state, 64).shape[1] == len(VOCAB)
