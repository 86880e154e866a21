"""`gradcam worker`: one Celery worker for one device."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from cam_engine.commands import exit_status

WORKER_HELP = "Start a worker for jobs: one for each GPU, on as many machines as you like."


def add_commands(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    """Mount `worker` below another parser, with its `command`."""
    parser = subparsers.add_parser("worker", help=WORKER_HELP, description=WORKER_HELP)
    add_worker_arguments(parser)
    command: Callable[[argparse.Namespace], int] = worker_command
    parser.set_defaults(command=command)


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `worker`; each overrules its GRADCAM_ variable."""
    parser.add_argument("--data", type=Path, help="data root, the same as the service's (results/)")
    parser.add_argument("--redis-url", help="redis://host:6379/0 or unix:///path")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--name", help="of this worker, unlike all others (celery@<host>)")
    parser.add_argument("--log-format", choices=("json", "console"), help="(json)")


def worker_command(arguments: argparse.Namespace) -> int:
    """Run until stopped. Raises InvalidOption."""
    # The child that computes is a process of its own and reads the environment.
    for name in ("data", "redis_url", "device", "log_format"):
        value = getattr(arguments, name)
        if value is not None:
            os.environ[f"GRADCAM_{name.upper()}"] = str(value)
    from worker.app import app  # noqa: PLC0415 (reads the environment when imported)

    words = ["--quiet", "worker", "--without-gossip", "--without-mingle"]
    if arguments.name is not None:
        words.append(f"--hostname={arguments.name}@%h")
    app.worker_main(words)
    return exit_status.DONE
