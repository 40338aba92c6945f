"""The command line: ``genesis COMMAND``. One file a command; each calls the engine and prints what it gives."""

from __future__ import annotations


def main() -> None:
    """The command ``genesis``; ends the process with its exit code."""
    import signal
    import sys

    from genesis.cli.app import run

    # a scheduler's SIGTERM ends like Ctrl-C: what is finished is kept
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))
