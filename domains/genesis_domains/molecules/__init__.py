"""Molecules: SMILES in, checked molecules out."""

from genesis_domains.molecules.domain import Molecules

DOMAIN = Molecules()
