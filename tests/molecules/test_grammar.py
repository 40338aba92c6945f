"""The SMILES automaton: whatever it lets be written is a molecule, and whatever RDKit writes it lets be written.

The oracles are RDKit itself and a breadth-first search for the shortest end.
"""

from __future__ import annotations

import csv
import lzma
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch import Tensor

from genesis.domain import BOS, EOS, PAD
from genesis.errors import EncodeError, UsageError
from genesis_domains.molecules import closure, grammar, state
from genesis_domains.molecules.grammar import SmilesGrammar
from genesis_domains.molecules.molecule import Molecule
from genesis_domains.molecules.smiles import IDS, VOCAB, tokenize

CPU = torch.device("cpu")
GRAMMAR = SmilesGrammar()
AMPLE = 4_000


def ids(text: str) -> list[int]:
    """Tokens of the beginning of a SMILES, which may end inside a bracket."""
    head, bracket, rest = text.rpartition("[")
    if bracket and "]" not in rest:
        return [IDS[t] for t in tokenize(head)] + [IDS["["]] + [IDS[t] for t in rest.split()]
    return [IDS[t] for t in tokenize(text)]


def after(text: str) -> Tensor:
    """``[1, S]``: the state after a beginning, every token of which must be allowed."""
    now = GRAMMAR.start(1, CPU)
    for token in ids(text):
        assert GRAMMAR.allowed(now, AMPLE)[0, token], f"{VOCAB[token]} in {text}"
        now = GRAMMAR.advance(now, torch.tensor([token]))
    return now


def walk(rows: int, room: int, seed: int, weights: Tensor | None = None) -> list[str]:
    """SMILES drawn token by token among the allowed ones, by weight; a dead end fails."""
    draws = torch.Generator().manual_seed(seed)
    now, written = GRAMMAR.start(rows, CPU), torch.full((rows, room), PAD)
    for t in range(room):
        allowed = GRAMMAR.allowed(now, room - t)
        assert bool(allowed.any(1).all()), f"a dead end after {t} of {room} tokens"
        chances = allowed.float() if weights is None else allowed * weights
        token = torch.multinomial(chances, 1, generator=draws)[:, 0]
        written[:, t] = token
        now = GRAMMAR.advance(now, token)
    assert bool(((written == EOS).sum(1) == 1).all())
    return ["".join(VOCAB[i] for i in row if i > EOS) for row in written.tolist()]


def invalid(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if Chem.MolFromSmiles(text) is None]


def kekule(text: str, written: int = 0) -> list[str]:
    """The canonical Kekulé SMILES of a molecule and some random ones."""
    mol = Chem.MolFromSmiles(Molecule.from_smiles(text).smiles)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    random = [Chem.MolToSmiles(mol, kekuleSmiles=True, canonical=False, doRandom=True) for _ in range(written)]
    return [Molecule.from_smiles(text).kekule(), *random]


def refused(texts: Sequence[str], spare: int = 0) -> list[str]:
    """Where a token of these SMILES is not allowed although the text itself, and ``spare`` tokens more, fit."""
    rows = [[*ids(text), EOS] for text in texts]
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    written = torch.tensor([[BOS] * (longest - len(row)) + row for row in rows])
    start = GRAMMAR.start(len(rows), CPU)
    now, said = start, dict[int, str]()
    for t in range(longest):
        begun = lengths >= longest - t
        allowed = GRAMMAR.allowed(now, longest - t + spare).gather(1, written[:, t : t + 1])[:, 0]
        for row in (begun & ~allowed).nonzero()[:, 0].tolist():
            said.setdefault(row, "".join(VOCAB[i] for i in written[row, : t + 1] if i > BOS))
        now = torch.where(begun[:, None], GRAMMAR.advance(now, written[:, t]), start)
    return [f"{texts[row]} at {prefix}" for row, prefix in said.items()]


def weights(**chances: float) -> Tensor:
    """Chances by kind of token; the others get a little."""
    kinds = {
        "atom": "C N O =C =N =O S P B F * #C #N =S Cl I",
        "ring": " ".join(VOCAB[IDS["1"] : IDS["9"] + 1] + VOCAB[IDS["%10"] : IDS["%99"] + 1]),
        "open": "(",
        "close": ")",
        "bond": "- = # $ / \\ -> <- ~",
        "bracket": "[",
        "right": "]",
        "inside": "+ - : H @ @@ @TH @TB @OH @SP @AL",
        "dot": ".",
        "end": "<eos>",
    }
    tensor = torch.full((len(VOCAB),), 0.02)
    for kind, chance in chances.items():
        tensor[[IDS[token] for token in kinds[kind].split()]] = chance
    return tensor


RINGS = weights(atom=0.5, ring=20, open=3, close=1, bond=0.5, bracket=1, right=3, inside=1, end=1e-3, dot=0.01)
BRANCHES = weights(atom=1, ring=3, open=4, close=3, bond=1, bracket=0.2, right=3, inside=1, end=0.01, dot=0.05)
BRACKETS = weights(atom=0.1, ring=5, open=1, close=3, bond=0.5, bracket=4, right=2, inside=3, end=0.01, dot=0.05)
CAGES = weights(atom=1, ring=8, open=1, close=0.2, bond=0.3, bracket=0.1, right=2, inside=0.1, end=1e-3, dot=0.01)


class TestTokens:
    @pytest.mark.parametrize(
        ("beginning", "yes", "no"),
        [
            ("", "C * [", "1 ( ) = =C . <eos> ] c"),
            ("C", "<eos> . ( 1 = =C # - / -> <- ~ [", "2 %10 0 ) : ] + H c n"),
            ("F", "<eos> C F ->", "=C =O #N ="),
            ("C=", "C N O S [", "F Cl =C = ( ) . 1 <eos>"),
            ("C#", "C N B P *", "O F"),
            ("C(", "C = =C [", "( ) 1 . <eos>"),
            ("C(C", ") C (", ". <eos>"),
            ("C(C)", "C ( <eos> .", "1 )"),
            ("C1", "C 2 (", "1 ) . <eos> F =O"),
            ("C1C", "C 2 ( =", "1 <eos> ) F"),
            ("C1CC", "1 2 =", "<eos> . F"),
            ("C1CC=", "1 C", "F <eos>"),
            ("C1CC1", "<eos> 2 C (", "1"),  # 1 has just been closed on this atom
            ("C1CC1C", "1", "2"),
            ("C12CC1", "C 3", "2 1"),  # a second bond to the same atom
            ("C12CC1C", "2 1", "3 <eos>"),  # on this atom 1 would be a new ring
            ("C(C1", "C", ") 1 <eos>"),  # what a branch opened it closes
            ("C(C1CC1", ") C", "1"),
            ("C1C(O", ") C 1", "2 <eos>"),
            ("C1C(F", ")", "C <eos>"),
            ("C1C(CC", ") 1 F =O", "<eos>"),
            ("C1CC(=O", ")", "1 <eos>"),
            ("O1CCC=", "C", "1"),  # the opening atom has no second valence
            ("C1CCC#", "1 C", "2"),
            ("N1CCC#", "C", "1"),
            ("C~", "C", "1"),
            ("C1C", "C", "~"),
            ("S(=O)(=O)(C)", "C [", "=O #N"),
            ("N(C)(C)", "C -> <-", "=C ="),
            ("[CH3]", "C <eos> (", "1 =C"),
        ],
    )
    def test_outside_brackets(self, beginning: str, yes: str, no: str) -> None:
        allowed = GRAMMAR.allowed(after(beginning), AMPLE)[0]
        assert [t for t in yes.split() if not allowed[IDS[t]]] == []
        assert [t for t in no.split() if allowed[IDS[t]]] == []

    @pytest.mark.parametrize(
        ("beginning", "yes", "no"),
        [
            ("[", "C Fe 1 9 * H", "0 ] @ + c se ("),
            ("[1", "0 9 C", "] @ +"),
            ("[1 2 3 4 5", "C", "0 1"),
            ("[C", "] @ @@ @TH H + - :", "1 C ("),
            ("[H", "] H + - :", "@ @@"),  # RDKit does not read a chiral hydrogen
            ("[C @", "H ] + :", "@ 1 @@"),
            ("[C @TH", "1 2 H ]", "3 0"),
            ("[C @SP", "3", "4 0"),
            ("[As @TB", "1 2 9", "0"),
            ("[As @TB 2", "0 ] H", "1"),
            ("[Co @OH 3", "0", "1"),
            ("[Co @OH 2", "9", "@"),
            ("[C H", "] 2 4 + - :", "0 5 9"),  # [CH4-] is too much, [CH4] is not
            ("[N H", "4 +", "5"),
            ("[N H 4", "+", "] 5"),
            ("[Fe +", "] 2 9 :", "0 + -"),
            ("[Fe + 1", "0 5 ]", "6 9"),
            ("[Sb H 6", "+ -", "]"),
            ("[Sb H 6 +", "3", "] 1 :"),
            ("[C :", "0 7", "]"),
            ("[C : 0", "]", "0 1"),
            ("[C : 1 2 3 4 5 6 7 8 9", "]", "0"),
            ("F[", "C N F Cl", "] @"),
            ("F~[", "C F", "H"),  # RDKit would give the hydrogen's bond to the fluorine
            ("C=[", "O C N H", "1234"),
            ("C#[", "O N C", "]"),
            ("C=[N", "] + -", "="),
            ("C=[O", "] +", "= 2"),
            ("C1C[O", "] +", "-"),  # the ring could no longer be closed
        ],
    )
    def test_inside_brackets(self, beginning: str, yes: str, no: str) -> None:
        allowed = GRAMMAR.allowed(after(beginning), AMPLE)[0]
        assert [t for t in yes.split() if not allowed[IDS[t]]] == []
        assert [t for t in no.split() if t in IDS and allowed[IDS[t]]] == []

    def test_the_lowest_ring_number_is_opened_up_to_99(self) -> None:
        text = "".join(f"[Fe]{n}" if n < 10 else f"[Fe]%{n}" for n in range(1, 100))
        allowed = GRAMMAR.allowed(after(text), AMPLE)[0]
        numbers = [VOCAB[i] for i in allowed.nonzero()[:, 0].tolist() if VOCAB[i].lstrip("%").isdigit()]
        assert numbers == [*"123456789", *(f"%{n}" for n in range(10, 98))]  # not to itself, not to its neighbour

    def test_branches_nest_as_deep_as_documented(self) -> None:
        deep = after("C(" * state.MAX_DEPTH + "C")
        assert not GRAMMAR.allowed(deep, AMPLE)[0, IDS["("]]
        assert GRAMMAR.allowed(after("C(" * (state.MAX_DEPTH - 1) + "C"), AMPLE)[0, IDS["("]]

    def test_after_the_end_there_is_only_padding(self) -> None:
        ended = GRAMMAR.advance(after("CC"), torch.tensor([EOS]))
        assert GRAMMAR.allowed(ended, 5)[0].nonzero().tolist() == [[PAD]]
        assert torch.equal(GRAMMAR.advance(ended, torch.tensor([IDS["C"]]))[:, 0], ended[:, 0])


def least(now: Tensor) -> int:
    """The fewest tokens with which the grammar sees an end from a state ``[1, S]``."""
    return next(r for r in range(1, AMPLE) if bool(GRAMMAR.allowed(now, r).any()))


def shortest(now: Tensor, limit: int) -> int | None:
    """The same by breadth-first search over carbon, ring numbers, ``)`` and arrows, none of them near any limit."""
    plan = torch.tensor([EOS, IDS["C"], IDS[")"], IDS["->"], IDS["<-"], *range(IDS["1"], IDS["9"] + 1)])
    for tokens in range(1, limit + 1):
        allowed = GRAMMAR.allowed(now, AMPLE)[:, plan]
        if bool(allowed[:, 0].any()):
            return tokens
        row, token = allowed.nonzero(as_tuple=True)
        now = torch.unique(GRAMMAR.advance(now[row], plan[token]), dim=0)
        if not 0 < len(now) < 20_000:
            return None
    return None


class TestBudget:
    @pytest.mark.parametrize(
        ("beginning", "tokens"),
        [
            ("", 2),  # C <eos>
            ("C", 1),
            ("C(", 3),  # C ) <eos>
            ("C(C(C", 3),  # ) ) <eos>
            ("C1", 4),  # C C 1 <eos>
            ("C1C", 3),
            ("C1CC", 2),
            ("C12", 6),  # C C 1 C 2 <eos>
            ("C123", 8),
            ("C1CC=", 2),  # 1 <eos>
            ("C1CC(=O", 4),  # ) C 1 <eos>
            ("C1CC(F)", 3),
            ("C1C2C3C", 5),  # C 1 2 3 <eos>
            ("C1C2C3CC", 4),
            ("C1C2C3C4CC", 6),  # 1 2 C 3 4 <eos>
            ("C(C1", 5),  # C C 1 ) <eos>
            ("C1(CO1)C(", 3),
            ("C12CC(CO1", 4),  # ) C 2 <eos>, for the oxygen has no bond left
            ("C.", 2),
            ("[", 3),  # C ] <eos>
            ("[C", 2),
            ("[1 3", 3),
            ("[C :", 3),
            ("[N H 4", 3),  # + ] <eos>
            ("[Sb H 6 +", 3),
            ("C[N](C)(C)->", 2),
            ("C1C[NH2]", 3),  # -> 1 <eos>
            ("[Fe]1[NH2]", 4),  # -> C 1 <eos>
            ("[Fe]1[NH2]->", 3),
        ],
    )
    def test_the_shortest_end_by_hand(self, beginning: str, tokens: int) -> None:
        assert least(after(beginning)) == tokens

    def test_no_search_finds_a_shorter_end(self) -> None:
        """Random beginnings full of rings: what the formula asks for is what the search finds."""
        pool = torch.tensor(
            [IDS[t] for t in ["C", "(", ")", "1", "2", "3", "4", "5", "6", "7", "=", "O", "N", "#", "->"]]
        )
        chance = torch.tensor([3, 3, 1, 3, 3, 3, 3, 3, 3, 3, 0.6, 0.4, 0.4, 0.1, 0.1])
        draws = torch.Generator().manual_seed(0)
        compared = 0
        for _ in range(120):
            now = GRAMMAR.start(1, CPU)
            for _ in range(int(torch.randint(3, 14, (1,), generator=draws))):
                weight = chance * GRAMMAR.allowed(now, AMPLE)[0, pool]
                if not bool(weight.any()):
                    break
                now = GRAMMAR.advance(now, pool[torch.multinomial(weight, 1, generator=draws)])
            tokens = least(now)
            found = shortest(now, tokens) if tokens <= 7 else None
            if found is not None:
                assert found == tokens
                compared += 1
        assert compared > 60

    def test_nothing_is_allowed_where_nothing_fits(self) -> None:
        start = GRAMMAR.start(3, CPU)
        assert not GRAMMAR.allowed(start, 1).any()
        short = GRAMMAR.allowed(start, 2)[0].nonzero()[:, 0].tolist()
        assert [VOCAB[i] for i in short] == ["B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I", "*"]


class TestWalks:
    @pytest.mark.parametrize(("room", "rows"), [(2, 500), (3, 1_000), (5, 5_000), (12, 5_000), (64, 2_500)])
    def test_a_uniform_walk_is_a_molecule(self, room: int, rows: int) -> None:
        assert invalid([text for seed in range(rows // 500) for text in walk(500, room, seed)]) == []

    @pytest.mark.parametrize("room", [6, 9, 16, 40])
    @pytest.mark.parametrize("kind", [RINGS, BRANCHES, BRACKETS, CAGES], ids=["rings", "branches", "brackets", "cages"])
    def test_a_walk_full_of_traps_is_a_molecule(self, kind: Tensor, room: int) -> None:
        texts = walk(500, room, room, kind)
        assert invalid(texts) == []
        assert len(set(texts)) > 100

    def test_a_long_walk_full_of_rings_is_a_molecule(self) -> None:
        texts = walk(60, 200, 5, RINGS)
        assert invalid(texts) == []
        assert max(len([t for t in tokenize(text) if t.startswith("%")]) for text in texts) > 10

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [None, RINGS, BRANCHES, BRACKETS, CAGES])
    def test_many_walks_are_molecules(self, kind: Tensor | None) -> None:
        for room in (5, 8, 12, 24, 64, 120):
            assert invalid([text for seed in range(10) for text in walk(500, room, 100 + seed, kind)]) == []

    @settings(max_examples=60)
    @given(st.integers(2, 40), st.lists(st.integers(0, 10_000), min_size=40, max_size=40))
    def test_any_choice_among_the_allowed_is_a_molecule(self, room: int, choices: list[int]) -> None:
        now, text = GRAMMAR.start(1, CPU), ""
        for t in range(room):
            allowed = GRAMMAR.allowed(now, room - t)[0].nonzero()[:, 0]
            token = allowed[choices[t] % len(allowed)][None]
            if int(token) == EOS:
                break
            text += VOCAB[int(token)]
            now = GRAMMAR.advance(now, token)
        else:
            pytest.fail(f"no end within {room} tokens: {text}")
        assert Molecule.from_smiles(text).smiles

    def test_what_rdkit_writes_of_a_walk_is_allowed(self) -> None:
        """Of organic atoms, for elsewhere the limits in the grammar's docstring show; and with room for a few tokens
        more, because with many rings open the dues are not always the least."""
        organic = RINGS.clone()
        organic[[IDS[t] for t in ["[", "->", "<-", "~", "*", "$"]]] = 0
        forms = []
        for text in walk(500, 24, 3, organic) + walk(300, 40, 4, organic):
            try:
                forms += kekule(text, 1)
            except EncodeError:
                continue  # RDKit cannot read what it wrote
        assert len(forms) > 1_500
        assert refused([form for form in forms if not {"->", "<-", "["} & {*tokenize(form)}], spare=8) == []

    def test_random_tokens_do_no_harm(self) -> None:
        """A state may be anything after a token that was not allowed, but it may not raise."""
        draws = torch.Generator().manual_seed(0)
        now = GRAMMAR.start(256, CPU)
        for t in range(200):
            allowed = GRAMMAR.allowed(now, 200 - t)
            assert allowed.shape == (256, len(VOCAB))
            token = torch.randint(0, len(VOCAB), (256,), generator=draws)
            now = GRAMMAR.advance(now, torch.where(torch.rand(256, generator=draws) < 0.3, token, IDS["C"]))
            assert now.shape == (256, state.WORDS)
            assert now.dtype == torch.int32


EXOTIC = [
    r"[13CH3][C@@H](F)/C=C/[N+](C)(C)C",
    "[NH3]->[Pt](<-[NH3])(Cl)Cl",
    "O=C1C(=O)O[Pt]2(O1)<-[NH2]C1CCCCC1[NH2]->2",
    "C1C[NH2]->[Pt](<-[NH2]1)(Cl)Cl",
    "C[N]1(C)CC[N](C)(C)->[Pt]<-1",
    "[Cl]1->[Pd]2(Cl)[Cl]->[Pd]1(Cl)[Cl]2",
    "[C-]#[O+]->[Fe](<-[C-]#[O+])<-[C-]#[O+]",
    "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1",
    "[CH]12[CH]3[CH]4[CH]5[CH]1[Fe]23451678[CH]2[CH]1[CH]6[CH]7[CH]28",
    "C~[Fe]",
    "[U]$[U]",
    "[SbH6+3]",
    "[UH12]",
    "[Fe+15]",
    "[1000C]",
    "[CH3:999999999]",
    "[H][H]",
    "[H+].[H-]",
    "[2H]C([2H])([2H])[2H]",
    r"[H]/C=C/[H]",
    "[B-](F)(F)(F)F.[Na+]",
    "F[Co@OH25](Cl)(Br)(I)(N)O",
    "F[As@TB20](Cl)(Br)(I)N",
    "F[Pt@SP3](Cl)(Br)I",
    "F[Xe](F)(F)F",
    "O=[Os](=O)(=O)=O",
    "FI(F)(F)(F)F",
    "*C(*)(*)*",
    "[*:1]c1ccc([*:2])cc1",
    "[CH2]C",
    "[C]",
    r"C/C1=C/CCCCCCCCCC/C=C\CC1",
    "C12C3C4C1C5C2C3C45",
    "C1CC%11CCC%11CC1",
    "C1CC2CCC1CC2",
]


class TestContract:
    """What RDKit writes is allowed, with room for not one token more."""

    @pytest.mark.parametrize("smiles", EXOTIC)
    def test_exotic_molecules(self, smiles: str) -> None:
        forms = kekule(smiles, 20)
        assert refused(forms[:1]) == []
        assert refused(forms, spare=len(forms[0])) == []

    @pytest.mark.parametrize("name", ["chembl_like", "zinc250k"])
    def test_the_corpora(self, shared: Path, name: str) -> None:
        assert refused([form for text in corpus(shared, name, 500) for form in kekule(text, 2)]) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["chembl_like", "zinc250k"])
    def test_all_of_the_corpora(self, shared: Path, name: str) -> None:
        lines = iter(corpus(shared, name, None))
        while texts := list(islice(lines, 4_000)):
            assert refused([form for text in texts for form in kekule(text)]) == []

    def test_metals_salts_and_peptides(self, shared: Path) -> None:
        """The oddest of MoleculeNet: with a metal, a dozen branches deep, or in many parts."""
        odd = []
        for name, column in (("tox21", "smiles"), ("clintox", "smiles"), ("sider", "smiles")):
            with lzma.open(shared / "data/moleculenet" / f"{name}.csv.xz", "rt") as rows:
                odd += [row[column] for row in csv.DictReader(rows)]
        forms = [form for text in odd if is_odd(text) for form in readable(text)]
        assert len(forms) > 150
        assert refused(forms) == []


METALS = [
    "Fe",
    "Co",
    "Pt",
    "Pd",
    "Zn",
    "Cu",
    "Hg",
    "Sn",
    "As",
    "Se",
    "Al",
    "Ti",
    "Mn",
    "Au",
    "Ag",
    "Gd",
    "Sb",
    "Bi",
    "Tc",
    "Li",
    "Mg",
]


def is_odd(text: str) -> bool:
    return len(text) < 300 and (any(f"[{m}" in text for m in METALS) or text.count("(") > 25 or text.count(".") > 3)


def readable(text: str) -> list[str]:
    try:
        return kekule(text)
    except EncodeError:
        return []


def corpus(shared: Path, name: str, first: int | None) -> list[str]:
    if name == "chembl_like":
        with lzma.open(shared / "data/chembl_like/molscore_sample.smi.xz", "rt") as lines:
            return [line.strip() for line in islice(lines, first)]
    with lzma.open(shared / "data/zinc250k/zinc250k_props.csv.xz", "rt") as rows:
        return [row["smiles"].strip() for row in islice(csv.DictReader(rows), first)]


class TestShortcuts:
    """What is left out on a CPU because no row needs it would have changed nothing."""

    @pytest.fixture(params=["rings", "brackets"])
    def states(self, request: pytest.FixtureRequest) -> list[tuple[Tensor, int]]:
        kind = {"rings": RINGS, "brackets": BRACKETS}[request.param]
        draws, seen = torch.Generator().manual_seed(1), []
        for rows, room in ((3, 60), (3, 90), (40, 30)):
            now = GRAMMAR.start(rows, CPU)
            for t in range(room):
                seen.append((now, room - t))
                allowed = GRAMMAR.allowed(now, room - t)
                now = GRAMMAR.advance(now, torch.multinomial(allowed * kind, 1, generator=draws)[:, 0])
        return seen

    @pytest.mark.parametrize(
        "without",
        [
            lambda patch: patch.setattr(closure, "NEXT_TOKEN", 10_000),  # never ample
            lambda patch: patch.setattr(state, "at_hand", lambda x: False),  # as on a GPU
        ],
        ids=["dues", "all"],
    )
    def test_they_change_nothing(
        self,
        states: list[tuple[Tensor, int]],
        monkeypatch: pytest.MonkeyPatch,
        without: Callable[[pytest.MonkeyPatch], None],
    ) -> None:
        short = [GRAMMAR.allowed(now, remaining) for now, remaining in states]
        tokens = [mask.float().argmax(1) for mask in short]
        stepped = [GRAMMAR.advance(now, token) for (now, _), token in zip(states, tokens, strict=True)]
        assert any(closure.Dues(now, state.Head.of(now), remaining).ample for now, remaining in states)
        without(monkeypatch)
        assert not any(closure.Dues(now, state.Head.of(now), remaining).ample for now, remaining in states)
        for (now, remaining), mask, token, then in zip(states, short, tokens, stepped, strict=True):
            assert torch.equal(GRAMMAR.allowed(now, remaining), mask)
            assert torch.equal(GRAMMAR.advance(now, token), then)


def test_a_step_does_not_touch_the_state_it_was_given() -> None:
    now = after("C1CC(C")
    kept = now.clone()
    GRAMMAR.allowed(now, 9)
    GRAMMAR.advance(now, torch.tensor([IDS["1"]]))
    assert torch.equal(now, kept)


def test_no_rows_are_no_trouble() -> None:
    nothing = GRAMMAR.start(0, CPU)
    assert GRAMMAR.allowed(nothing, 5).shape == (0, len(VOCAB))
    assert GRAMMAR.advance(nothing, torch.zeros(0, dtype=torch.int64)).shape == nothing.shape


@pytest.mark.parametrize("length", [0, -1, state.LONGEST + 1])
def test_a_length_that_cannot_be_counted_is_refused(length: int) -> None:
    with pytest.raises(UsageError, match=f"for {length} tokens; allowed are 1 to {state.LONGEST}"):
        SmilesGrammar(length)


def test_every_bit_of_a_mask_is_used_once() -> None:
    """The answers outside brackets fill 25 bits, those inside 17: an int32 has room for both."""
    tables = grammar._tables(CPU)
    bits = tables.question[tables.question > 0]
    assert bool(((bits & (bits - 1)) == 0).all())
    assert int(bits.max()) < 1 << 30
