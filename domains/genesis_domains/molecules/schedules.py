"""Listed chemicals: the schedules of the Chemical Weapons Convention, and one class of the opioid schedules.

CWC: Convention on the Prohibition of Chemical Weapons, Annex on Chemicals, with the additions to Schedule 1 in force
since 7 June 2020 (decisions C-24/DEC.4 and C-24/DEC.5). Families are written as SMARTS from the wording of the annex,
somewhat wider where it limits the length of alkyl groups; single chemicals are kept as the first block of their
InChIKey, which is the same for salts' ions, isotopes and stereoisomers. 21 CFR 1308.11(h)(30): fentanyl-related
substances. Not in the table: ricin, which is a protein, and what the annex exempts.
"""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """A class of chemicals; ``elements`` are those without which none of its members exists."""

    entry: str
    name: str
    smarts: str
    elements: frozenset[str]


class Listed(NamedTuple):
    """One chemical: the first block of its InChIKey and its heavy atoms."""

    block: str
    atoms: str
    name: str
    entry: str


# an alkyl group of one to three carbon atoms and nothing else
ALKYL = "$([CH3]),$([CH2;D2][CH3]),$([CH2;D2][CH2;D2][CH3]),$([CH;D3]([CH3])[CH3])"
HALOGEN = "F,Cl,Br,I"
P, AS = frozenset({"P"}), frozenset({"As"})

FAMILIES = (
    Family("CWC 1.A.1, 1.B.11-12", "alkylphosphonohalidates", f"[CX4][PX4](=[O,S])([{HALOGEN}])[O,S][#6]", P),
    Family("CWC 1.A.2", "phosphoramidocyanidates", "[NX3][PX4](=[O,S])(C#N)[O,S]", P),
    Family("CWC 1.A.3", "aminoethyl phosphonothiolates", "[#6][PX4](=[O,S])([#8])[#16]CC[#7;X3,X4+]", P),
    Family("CWC 1.A.4", "sulfur mustards", "[Cl,Br,I][CX4][CX4][SX2][CX4]", frozenset({"S"})),
    Family("CWC 1.A.5", "lewisites", "[As]([F,Cl,Br])C=C", AS),
    Family("CWC 1.A.6", "nitrogen mustards", "[Cl][CX4][CX4][NX3,NX4+]([CX4])[CX4][CX4][Cl]", frozenset({"N", "Cl"})),
    Family("CWC 1.A.13-15", "amidine phosphorofluorides", "[PX4](=[O,S])(F)N=[#6][NX3]", P),
    Family("CWC 1.A.16-17", "pyridyl carbamate quaternaries", "[CX4]N([CX4])C(=O)Oc1cccnc1C[NX4+]", frozenset({"N"})),
    Family("CWC 1.B.9", "alkylphosphonyl dihalides", f"[CX4][P;X3,X4]([{HALOGEN}])[{HALOGEN}]", P),
    Family("CWC 1.B.10", "aminoethyl phosphonites", "[CX4][PX3]([OX2])[OX2]CC[#7;X3,X4+]", P),
    Family("CWC 2.A.1", "aminoethyl phosphorothiolates", "[#6]O[PX4](=O)(O[#6])[#16]CC[#7;X3,X4+]", P),
    Family("CWC 2.B.4", "short alkylphosphorus compounds", f"[P;!$(P(~[#6])~[#6])]~[{ALKYL}]", P),
    Family("CWC 2.B.5", "phosphoramidic dihalides", f"[CX4][NX3]([CX4])[PX4](=O)([{HALOGEN}])[{HALOGEN}]", P),
    Family("CWC 2.B.6", "dialkyl phosphoramidates", "[CX4][NX3]([CX4])[PX4](=O)([OX2][CX4])[OX2][CX4]", P),
    Family(
        "CWC 2.B.10, 2.B.12",
        "dialkylaminoethyl chlorides and thiols",
        f"[{ALKYL}][#7;X3,X4+;D3]([{ALKYL}])[CH2][CH2][$([Cl]),$([SX2;H1])]",
        frozenset({"N"}),
    ),
    Family(
        "CWC 2.B.11",
        "dialkylaminoethanols",  # but the dimethyl and the diethyl one, which the annex exempts
        f"[{ALKYL};!$([CH3]);!$([CH2;D2][CH3])][#7;X3,X4+;D3]([{ALKYL}])[CH2][CH2][OX2;H1]",
        frozenset({"N", "O"}),
    ),
    Family(
        "21 CFR 1308.11(h)(30)",
        "fentanyl-related substances",
        "[#7;X3,X4+]1CCC(CC1)[NX3](a)C(=O)",
        frozenset({"N", "O"}),
    ),
)

LISTED = (
    Listed("RPQXVSUAYFXFJA", "C10N7O4", "saxitoxin", "CWC 1.A.7"),
    Listed("DAFIBNSJXIGBQB", "C4F8", "PFIB", "CWC 2.A.2"),
    Listed("HGMITUYOCPPQLE", "C21N1O3", "BZ", "CWC 2.A.3"),
    Listed("OEYOHULQRFXULB", "As1Cl3", "arsenic trichloride", "CWC 2.B.7"),
    Listed("UKXSKSHDVLQNKG", "C14O3", "2,2-diphenyl-2-hydroxyacetic acid", "CWC 2.B.8"),
    Listed("IVLICPVPXWEGCA", "C7N1O1", "quinuclidin-3-ol", "CWC 2.B.9"),
    Listed("YODZTKMDCQEPHD", "C4O2S1", "thiodiglycol", "CWC 2.B.13"),
    Listed("DFOXKPDFWGNLJU", "C6O1", "pinacolyl alcohol", "CWC 2.B.14"),
    Listed("YGYAWVDWMABLBF", "C1Cl2O1", "phosgene", "CWC 3.A.1"),
    Listed("QPJDMGCKMHUXFD", "C1Cl1N1", "cyanogen chloride", "CWC 3.A.2"),
    Listed("LELOWRISYMNNSU", "C1N1", "hydrogen cyanide", "CWC 3.A.3"),
    Listed("LFHISGNCFUNFFM", "C1Cl3N1O2", "chloropicrin", "CWC 3.A.4"),
    Listed("XHXFXVLFKHQFAL", "Cl3O1P1", "phosphorus oxychloride", "CWC 3.B.5"),
    Listed("FAIAAWCVCHQXDN", "Cl3P1", "phosphorus trichloride", "CWC 3.B.6"),
    Listed("UHZYTMXLRWXGPK", "Cl5P1", "phosphorus pentachloride", "CWC 3.B.7"),
    Listed("CYTQBVOFDCPGCX", "C3O3P1", "trimethyl phosphite", "CWC 3.B.8"),
    Listed("BDZBKCUKTQZUTL", "C6O3P1", "triethyl phosphite", "CWC 3.B.9"),
    Listed("HZCDANOFLILNSA", "C2O3P1", "dimethyl phosphite", "CWC 3.B.10"),
    Listed("DLQDGVZAEYZNTG", "C2O3P1", "dimethyl phosphite, its other tautomer", "CWC 3.B.10"),
    Listed("MJUJXFBTEFXVKU", "C4O3P1", "diethyl phosphite", "CWC 3.B.11"),
    Listed("SULWMEGSVQCTSK", "C4O3P1", "diethyl phosphite, its other tautomer", "CWC 3.B.11"),
    Listed("PXJJSXABGXMUSU", "Cl2S2", "sulfur monochloride", "CWC 3.B.12"),
    Listed("FWMUJAIKEJWSSY", "Cl2S1", "sulfur dichloride", "CWC 3.B.13"),
    Listed("FYSNRJHAOHDILO", "Cl2O1S1", "thionyl chloride", "CWC 3.B.14"),
    Listed("AKNUHUCEWALCOI", "C6N1O2", "ethyldiethanolamine", "CWC 3.B.15"),
    Listed("CRVGTESFCCXCTH", "C5N1O2", "methyldiethanolamine", "CWC 3.B.16"),
    Listed("GSEJCLTVZPLZKY", "C6N1O3", "triethanolamine", "CWC 3.B.17"),
)
