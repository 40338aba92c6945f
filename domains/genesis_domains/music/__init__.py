"""Music: scores in, checked scores out."""

from genesis_domains.music.domain import Music

DOMAIN = Music()
