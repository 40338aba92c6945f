"""Images as grids of numbers; Pillow reads and writes them."""

from genesis_domains.images.domain import Images

DOMAIN = Images()
