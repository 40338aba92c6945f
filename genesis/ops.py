"""The one door to ``genesis_kernels``: each op under its name, the fastest correct path behind it."""

from genesis_kernels.reference import decode_attention, modulated_norm, rotate, short_attention, unit_rms

__all__ = ["decode_attention", "modulated_norm", "rotate", "short_attention", "unit_rms"]
