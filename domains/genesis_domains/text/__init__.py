"""Text: bytes or learned pieces in, checked UTF-8 out."""

from genesis_domains.text.domain import TextDomain

DOMAIN = TextDomain()
