"""What the kernels are checked and timed with on a GPU: cases with their bytes and FLOPs, opponents, clocks, checks.

    python -m genesis_kernels.bench check short_attention
    python -m genesis_kernels.bench time short_attention

print JSON, ``time`` a line a case; it refuses an op whose check is red. ``prepare`` compiles what will be timed.
"""
