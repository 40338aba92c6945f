"""What is given of an image: a sketch to go on from, or a photo with a hole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genesis.domain import Begun
from genesis.errors import UsageError
from genesis_domains.images import files

GIVEN: Mapping[str, str] = {
    "from": "an image file to go on from",
    "strength": "with --from: how much of it may change, above 0 up to 1; 0.6 if not given",
    "inpaint": "an image file of which a part is drawn anew",
    "mask": "with --inpaint: an image file of the same size, white where it is drawn anew",
}
STRENGTH = 0.6


def begun(given: Mapping[str, Any]) -> Begun:
    """The grid that is given, how much of it may change, and what of it stays."""
    import torch

    if ("from" in given) == ("inpaint" in given):
        raise UsageError("give one of --from IMAGE (to go on from) and --inpaint IMAGE with --mask IMAGE")
    if "from" in given:
        if "mask" in given:
            raise UsageError("--mask belongs to --inpaint; leave it out, or give --inpaint in place of --from")
        try:
            strength = float(given.get("strength", STRENGTH))
        except ValueError:
            strength = -1.0
        if not 0 < strength <= 1:
            raise UsageError(f"--strength {given['strength']}: a number above 0 and at most 1 is needed")
        return Begun(torch.tensor(files.one(Path(given["from"])).pixels), strength)
    if "strength" in given:
        raise UsageError("--strength belongs to --from; leave it out")
    if "mask" not in given:
        raise UsageError("--inpaint needs --mask IMAGE: white where it is drawn anew")
    image, mask = files.one(Path(given["inpaint"])), files.one(Path(given["mask"]))
    if image.shape[:2] != mask.shape[:2]:
        raise UsageError(
            f"--mask is {mask.shape[1]}x{mask.shape[0]}, --inpaint {image.shape[1]}x{image.shape[0]}; "
            "both must have one size"
        )
    anew = torch.tensor(mask.pixels).float().mean(-1) >= 128
    if not bool(anew.any()):
        raise UsageError("--mask has no white place; paint white what is to be drawn anew")
    return Begun(torch.tensor(image.pixels), 1.0, ~anew)
