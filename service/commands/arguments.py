"""`gradcam`: the one composition root, which mounts the commands of the other packages.

Nothing heavy is imported before a command runs, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from cam_engine.commands import arguments as engine_cli
from cam_engine.method_facts import DEFAULT_METHOD, SCORES
from cam_engine.options import COLORMAPS, FUSIONS, IN_WORDS, METHODS, PICKS
from worker import cli as worker_cli

DEFAULT_URL = "http://127.0.0.1:8000"
VIEWS = ("overlay", "heatmap", "panel", "map", "array", "maps", "native")
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
        ("up", UP_HELP, add_up_arguments, up_command),
        ("key", KEY_HELP, None, key_command),
    ):
        command_parser = subparsers.add_parser(name, help=text, description=text)
        if add is not None:
            add(command_parser)
        command_parser.set_defaults(command=command)
    worker_cli.add_commands(subparsers)
    add_jobs_commands(subparsers)
    return parser


SERVE_HELP = "Start the HTTP service."
EXPLAIN_HELP = "Have an image explained by a running service."
UP_HELP = "Start everything on one machine: Redis, a worker and the service."
JOBS_HELP = "Submit, watch, stop and fetch jobs of a running service."
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
    parser.add_argument("image", type=Path, help="JPEG, PNG, WebP, BMP, TIFF or GIF")
    parser.add_argument("--url", default=DEFAULT_URL, help="of the service (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="file (default: <image>_<view>.png)")
    parser.add_argument("--view", choices=VIEWS, default="overlay", help="(%(default)s)")
    parser.add_argument("--model", help="id (default: the service's)")
    parser.add_argument("--layer", help="fused, early, mid, late or a module's name")
    parser.add_argument("--method", choices=METHODS, help="CAM method")
    _add_formulas(parser)
    parser.add_argument("--target", help="class to explain (default: the predicted one)")
    parser.add_argument("--no-clahe", action="store_true", help="give the network the image as is")
    engine_cli.add_decoding_options(parser)
    parser.set_defaults(intensity=None, background=None)  # the service's own
    parser.add_argument("--colormap", choices=COLORMAPS, help="of the map")
    parser.add_argument("--alpha", type=float, help="opacity, 0..1")
    parser.add_argument("--json", action="store_true", help="print the answer in numbers as JSON")
    parser.add_argument(
        "--api-key",
        default=os.environ.get(API_KEY_VARIABLE),
        help=f"(default: the variable {API_KEY_VARIABLE})",
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds (%(default)s)")


def add_up_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `up`."""
    parser.add_argument("--data", type=Path, default=Path("results"), help="(%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="of the service (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="of the service (%(default)s)")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--state", type=Path, help="folder of Redis (~/.local/state/gradcam/...)")


def add_jobs_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`jobs submit|status|watch|cancel|download`."""
    parser = subparsers.add_parser("jobs", help=JOBS_HELP, description=JOBS_HELP)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text in (
        ("submit", "Explain an experiment's images with its models."),
        ("status", "How a job stands; without an id, all of them."),
        ("watch", "Follow a job to its end, with a progress bar."),
        ("cancel", "Stop a job; its pictures stay."),
        ("download", "Fetch all of a job's files as a zip."),
    ):
        action = actions.add_parser(name, help=text, description=text)
        if name == "submit":
            _add_submit_arguments(action)
        else:
            action.add_argument("job", nargs="?" if name == "status" else None, help="its id")
        if name == "download":
            action.add_argument("-o", "--output", type=Path, help="(gradcam_<id>.zip)")
        _add_service_arguments(action)
        action.set_defaults(command=jobs_command, action=name)


def _add_formulas(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fusion", choices=FUSIONS, help=f"{IN_WORDS['fusion']} (auto)")
    parser.add_argument("--score", choices=tuple(SCORES), help=f"{IN_WORDS['score']} (logit)")


def _add_submit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="its path below the data root")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME", help="(all)")
    parser.add_argument("--max-images", type=int, default=10, help="a model (%(default)s)")
    parser.add_argument("--all", action="store_true", help="all images")
    parser.add_argument(
        "--pick", choices=PICKS, help="which images, where there are more (balanced)"
    )
    parser.add_argument("--method", choices=METHODS, help=f"CAM method ({DEFAULT_METHOD})")
    parser.add_argument("--fused", action="store_true", help="also the fused map")
    _add_formulas(parser)
    engine_cli.add_decoding_options(parser)
    parser.set_defaults(intensity=None, background=None)  # the service's own
    parser.add_argument("--name", help="put the pictures into a set of this name")
    parser.add_argument(
        "--replace", action="store_true", help="replace another recipe's pictures in the folder"
    )
    parser.add_argument("--output", help="folder below the output root")
    parser.add_argument("--webhook", help="address that is told how the job ended")
    parser.add_argument("--key", help="Idempotency-Key: submitted again, it is the same job")
    parser.add_argument("--watch", action="store_true", help="follow it to its end")


def _add_service_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=DEFAULT_URL, help="of the service (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--api-key",
        default=os.environ.get(API_KEY_VARIABLE),
        help=f"(default: the variable {API_KEY_VARIABLE})",
    )


def up_command(arguments: argparse.Namespace) -> int:
    """Run everything until it is stopped."""
    from service.commands.up import up

    return up(arguments)


def jobs_command(arguments: argparse.Namespace) -> int:
    """Ask a running service about jobs."""
    from service.commands import jobs as jobs_client

    action: Callable[[argparse.Namespace], int] = getattr(jobs_client, arguments.action)
    return action(arguments)


def serve_command(arguments: argparse.Namespace) -> int:
    """Run the service until it is stopped."""
    from service.commands.serve import serve

    return serve(arguments)


def explain_command(arguments: argparse.Namespace) -> int:
    """Ask a running service."""
    from service.commands.explain import explain

    return explain(arguments)


def key_command(_arguments: argparse.Namespace) -> int:
    """Make a key."""
    from service.http.security import new_key

    key, hashed = new_key()
    print(f"key (give it to the caller):     {key}")
    print(f"hash (into GRADCAM_API_KEYS):    {hashed}")
    return 0
