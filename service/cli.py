"""`gradcam`: the one composition root, which mounts the commands of the other packages.

Nothing heavy is imported before a command runs, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from cam_engine import cli as engine_cli
from cam_engine.options import COLORMAPS, METHODS

DEFAULT_URL = "http://127.0.0.1:8000"
VIEWS = ("overlay", "heatmap", "panel", "map", "array", "maps")
API_KEY_VARIABLE = "GRADCAM_API_KEY"


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
    for name, text, add, command in (
        ("serve", SERVE_HELP, add_serve_arguments, serve_command),
        ("explain", EXPLAIN_HELP, add_explain_arguments, explain_command),
        ("key", KEY_HELP, None, key_command),
    ):
        one = subparsers.add_parser(name, help=text, description=text)
        if add is not None:
            add(one)
        one.set_defaults(command=command)
    return parser


SERVE_HELP = "Start the HTTP service."
EXPLAIN_HELP = "Have an image explained by a running service."
KEY_HELP = "Make an API key: print it, and the hash that GRADCAM_API_KEYS takes."


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `serve`; each overrules its GRADCAM_ variable."""
    parser.add_argument("--data", type=Path, help="results folder, run or experiment (results/)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (%(default)s)")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--model", help="id of the model used where none is named")
    parser.add_argument("--root-path", help="path under which a proxy offers the service")
    parser.add_argument("--log-format", choices=("json", "console"), help="(json)")


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `explain`."""
    parser.add_argument("image", type=Path, help="JPEG, PNG, WebP, BMP or TIFF")
    parser.add_argument("--url", default=DEFAULT_URL, help="of the service (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="file (default: <image>_<view>.png)")
    parser.add_argument("--view", choices=VIEWS, default="overlay", help="(%(default)s)")
    parser.add_argument("--model", help="id (default: the service's)")
    parser.add_argument("--layer", help="fused, early, mid, late or a module's name")
    parser.add_argument("--method", choices=METHODS, help="CAM method")
    parser.add_argument("--target", help="class to explain (default: the predicted one)")
    parser.add_argument("--no-clahe", action="store_true", help="give the network the image as is")
    parser.add_argument("--colormap", choices=COLORMAPS, help="of the map")
    parser.add_argument("--alpha", type=float, help="opacity, 0..1")
    parser.add_argument("--json", action="store_true", help="print the answer in numbers as JSON")
    parser.add_argument(
        "--api-key",
        default=os.environ.get(API_KEY_VARIABLE),
        help=f"(default: the variable {API_KEY_VARIABLE})",
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds (%(default)s)")


def serve_command(arguments: argparse.Namespace) -> int:
    """Run the service until it is stopped."""
    from service.serving import serve

    return serve(arguments)


def explain_command(arguments: argparse.Namespace) -> int:
    """Ask a running service."""
    from service.client import explain

    return explain(arguments)


def key_command(_arguments: argparse.Namespace) -> int:
    """Make a key."""
    from service.security import new_key

    key, hashed = new_key()
    print(f"key (give it to the caller):     {key}")
    print(f"hash (into GRADCAM_API_KEYS):    {hashed}")
    return 0
