"""`gradcam`: the one composition root, which mounts the commands of the other packages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version

from cam_engine import cli as engine_cli


def main(argv: Sequence[str] | None = None) -> int:
    """The `gradcam` command. Answers the exit status."""
    arguments = build_parser().parse_args(argv)
    return engine_cli.run_command(arguments.command, arguments)


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="gradcam", description="Shows where a trained image classifier looked."
    )
    parser.add_argument(
        "--version", action="version", version=f"gradcam-service {version('gradcam-service')}"
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    engine_cli.add_commands(subparsers)
    return parser
