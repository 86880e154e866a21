"""The command lines: what they are called with. What they do is in `cam_engine.commands.running`.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cam_engine.commands import exit_status
from cam_engine.commands.data_paths import data_path, own_path
from cam_engine.errors import CamError
from cam_engine.method_facts import DEFAULT_METHOD, SCORES
from cam_engine.options import (
    BACKGROUNDS,
    COLORMAPS,
    FUSIONS,
    IN_WORDS,
    INTENSITIES,
    METHODS,
    PICKS,
    CamOptions,
)
from cam_engine.process.decoder_messages import silence_decoders
from cam_engine.process.memory import reuse_large_blocks
from cam_engine.process.threads import keep_opencv_to_its_thread, share_cores_with_pictures
from cam_engine.stores.access import with_addresses

_OWN = CamOptions()

Command = Callable[[argparse.Namespace], int]


def experiment_main(argv: Sequence[str] | None = None) -> int:
    """`run_improved_gradcam_on_experiments.py`: all classifiers of an experiment folder."""
    parser = argparse.ArgumentParser(description=EXPERIMENT_HELP)
    add_experiment_arguments(parser)
    return run_command(experiment_command, parser.parse_args(argv))


def images_main(argv: Sequence[str] | None = None) -> int:
    """`generate_improved_gradcam.py`: one checkpoint, any images."""
    parser = argparse.ArgumentParser(description=IMAGES_HELP)
    add_images_arguments(parser)
    return run_command(images_command, parser.parse_args(argv))


EXPERIMENT_HELP = "Grad-CAM++ figures for the classifiers of an experiment folder."
IMAGES_HELP = "Grad-CAM++ figures of one classifier for an image or a folder of images."
INSPECT_HELP = "What is read of a checkpoint, or of all of an experiment, and where it is from."
REPORT_HELP = "A report on an experiment: can its models and their maps be believed?"
VERIFY_HELP = "Check a folder of figures: all there, CLAHE visible, focused, smooth."


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount the commands below another parser, each with its `command`."""
    for name, text, add, command in (
        ("experiment", EXPERIMENT_HELP, add_experiment_arguments, experiment_command),
        ("images", IMAGES_HELP, add_images_arguments, images_command),
        ("verify", VERIFY_HELP, add_verify_arguments, verify_command),
        ("inspect", INSPECT_HELP, add_inspect_arguments, inspect_command),
        ("report", REPORT_HELP, add_report_arguments, report_command),
    ):
        parser = subparsers.add_parser(name, help=text, description=text)
        add(parser)
        parser.set_defaults(command=command)


def run_command(command: Command, arguments: argparse.Namespace) -> int:
    """Run it; an error of ours becomes one clear line and status 2, Ctrl-C status 130."""
    try:
        return command(arguments)
    except CamError as error:
        print(with_addresses(f"error [{error.code}]: {error}"), file=sys.stderr)
        return exit_status.NOTHING_DONE
    except KeyboardInterrupt:
        print("stopped; no half picture was left. --resume goes on from here", file=sys.stderr)
        return exit_status.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return exit_status.INTERRUPTED


def experiment_command(arguments: argparse.Namespace) -> int:
    """Do what `experiment` was called for."""
    _settle_process()
    from cam_engine.commands.running import run_experiments

    return run_experiments(arguments)


def images_command(arguments: argparse.Namespace) -> int:
    """Do what `images` was called for."""
    _settle_process()
    from cam_engine.commands.running import run_images

    return run_images(arguments)


def _settle_process() -> None:
    """What holds for the process, before torch is imported."""
    reuse_large_blocks()
    share_cores_with_pictures()
    keep_opencv_to_its_thread()
    silence_decoders()


def inspect_command(arguments: argparse.Namespace) -> int:
    """Do what `inspect` was called for."""
    _settle_process()
    from cam_engine.commands.inspecting import run_inspect

    return run_inspect(arguments)


def report_command(arguments: argparse.Namespace) -> int:
    """Do what `report` was called for."""
    _settle_process()
    from cam_engine.commands.reporting import run_report

    return run_report(arguments)


def verify_command(arguments: argparse.Namespace) -> int:
    """Do what `verify` was called for."""
    from cam_engine.commands.checks import run_verify

    return run_verify(arguments)


def add_experiment_arguments(parser: argparse.ArgumentParser) -> None:
    """The documented options of the experiment command, then the extra ones."""
    _add_experiment(parser)
    _add_max_images(parser, 10, "images a classifier")
    parser.add_argument(
        "--output-base",
        type=own_path,
        help="output folder (default: <exp-folder>/gradcam_visualizations)",
    )
    parser.add_argument("--no-clahe", action="store_true", help="do not apply CLAHE")
    _add_pick(parser)
    _add_extras(parser)


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--exp-folder",
        type=data_path,
        required=True,
        help="experiment folder; a run or a results folder means all experiments of the newest run",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only classifiers whose folder contains one of these, e.g. focal (default: all)",
    )


def add_images_arguments(parser: argparse.ArgumentParser) -> None:
    """The documented options of the images command, then the extra ones."""
    parser.add_argument("--model", type=data_path, required=True, help="checkpoint, e.g. best.pt")
    parser.add_argument(
        "--images",
        type=data_path,
        required=True,
        help="image file, or folder (searched recursively)",
    )
    parser.add_argument(
        "--class-names",
        nargs="+",
        metavar="NAME",
        help="class names in the order of the outputs (default: from the checkpoint)",
    )
    parser.add_argument(
        "--output",
        type=own_path,
        default=Path("improved_gradcam_output"),
        help="output folder (default: %(default)s)",
    )
    _add_max_images(parser, 20, "images")
    parser.add_argument("--no-clahe", action="store_true", help="do not apply CLAHE")
    parser.add_argument(
        "--use-standard-gradcam", action="store_true", help="Grad-CAM instead of Grad-CAM++"
    )
    _add_pick(parser)
    _add_extras(parser)


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verify command."""
    parser.add_argument("output_dir", type=Path, help="what an experiment or images command wrote")
    parser.add_argument("--json", action="store_true", help="print the answers as JSON")


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the inspect command."""
    parser.add_argument(
        "path", type=data_path, help="checkpoint, its folder, or an experiment folder"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument(
        "--write-sidecar",
        action="store_true",
        help="write what was read beside the checkpoint (best.json), to be corrected by hand",
    )
    _add_head(parser)


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the report command."""
    _add_experiment(parser)
    parser.add_argument(
        "--split", default="test", help="crops to report on: test, val or train (default: test)"
    )
    parser.add_argument(
        "--boxes",
        type=own_path,
        metavar="FILE",
        help="where parasites lie: a JSON file of boxes, or a table of crops",
    )
    parser.add_argument(
        "--fields",
        type=own_path,
        metavar="FOLDER",
        help="the field images that crops were cut from, to cut wider ones",
    )
    parser.add_argument(
        "--max-images", type=_positive, default=None, metavar="N", help="most crops (default: all)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)"
    )
    parser.add_argument(
        "--thorough", action="store_true", help="more crops, steps and repetitions of each measure"
    )
    parser.add_argument(
        "--output", type=own_path, help="output folder (default: <exp-folder>/gradcam_report)"
    )
    parser.add_argument("--no-clahe", action="store_true", help="do not apply CLAHE")
    _add_input_options(parser.add_argument_group("the network's input"))
    _add_running(parser)


def _add_head(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--head",
        metavar="LAYERS",
        help='layers of a head that the file does not record, e.g. "linear relu dropout linear"',
    )
    parser.add_argument(
        "--averaged",
        action="store_true",
        help="averaged weights (EMA) of a file that has them beside the last ones",
    )
    parser.add_argument(
        "--trust-file",
        action="store_true",
        help="also load a program of torch.export (.pt2), which can run what the file says",
    )
    parser.add_argument(
        "--network",
        metavar="FACTORY",
        help="a network of your own: package.module:factory, or the name of an installed one",
    )


def _add_max_images(parser: argparse.ArgumentParser, default: int, what: str) -> None:
    parser.add_argument(
        "--max-images",
        type=_positive,
        default=default,
        metavar="N",
        help=f"most {what} (default: %(default)s)",
    )


def _add_pick(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which images")
    group.add_argument(
        "--pick",
        choices=PICKS,
        default="balanced",
        help="where there are more than --max-images: all classes in turn, the first by name, at "
        "random, or those whose true class the classifier trusts least (default: %(default)s)",
    )
    group.add_argument(
        "--seed", type=int, default=0, help="of --pick random (default: %(default)s)"
    )
    group.add_argument(
        "--resume", action="store_true", help="skip images whose pictures are there and complete"
    )


def _add_extras(parser: argparse.ArgumentParser) -> None:
    _add_map_options(parser.add_argument_group("maps"))
    _add_input_options(parser.add_argument_group("the network's input"))
    _add_picture_options(parser.add_argument_group("pictures"))
    _add_running(parser)


def _add_running(parser: argparse.ArgumentParser) -> None:
    running = parser.add_argument_group("running")
    running.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    running.add_argument(
        "--batch-size", type=_batch_size, default=None, metavar="N", help="default: auto"
    )
    running.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="default: by network family and device",
    )
    running.add_argument("--quiet", action="store_true", help="print errors only")
    running.add_argument("--json", action="store_true", help="print the summary as JSON")


def _add_map_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--method", choices=METHODS, default=None, help=f"CAM method (default: {DEFAULT_METHOD})"
    )
    group.add_argument(
        "--layers",
        nargs="+",
        type=_names,
        metavar="LAYER",
        default=None,
        help="early mid late (default), a stage such as layer3, or any dotted module name",
    )
    group.add_argument(
        "--fused", action="store_true", help="add the fused map of early, mid and late"
    )
    group.add_argument(
        "--fusion",
        choices=FUSIONS,
        default=_OWN.fusion,
        help=f"{IN_WORDS['fusion']} (default: %(default)s)",
    )
    group.add_argument(
        "--score",
        choices=tuple(SCORES),
        default=_OWN.score,
        help=f"{IN_WORDS['score']} (default: %(default)s)",
    )
    group.add_argument("--target", default=None, metavar="CLASS", help=IN_WORDS["target"])
    group.add_argument(
        "--taps",
        choices=("rectified", "raw"),
        default=_OWN.taps,
        help=IN_WORDS["taps"],
    )


def _add_input_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--input-size",
        type=_positive,
        nargs="+",
        metavar="PX",
        help="side, or height and width (default: from the checkpoint, else the model's own)",
    )
    for name in ("--mean", "--std"):
        group.add_argument(
            name, type=float, nargs=3, metavar=("R", "G", "B"), help="0..1 scale, or both on 0..255"
        )
    _add_head(group)
    add_decoding_options(group)


def add_decoding_options(group: argparse._ActionsContainer) -> None:
    """How files become pixels."""
    group.add_argument(
        "--intensity",
        choices=INTENSITIES,
        default=_OWN.decoding.intensity,
        help=f"{IN_WORDS['intensity']} (default: %(default)s)",
    )
    group.add_argument(
        "--background",
        choices=BACKGROUNDS,
        default=_OWN.decoding.background,
        help=f"{IN_WORDS['background']} (default: %(default)s)",
    )
    group.add_argument(
        "--page",
        type=_positive,
        default=None,
        metavar="N",
        help=IN_WORDS["page"],
    )


def _add_picture_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--colormap", choices=COLORMAPS, default=_OWN.colormap, help="(%(default)s)")
    group.add_argument(
        "--alpha",
        type=float,
        default=None,
        help=f"{IN_WORDS['alpha']} (default: {_OWN.alpha})",
    )
    group.add_argument(
        "--blend",
        choices=("adaptive", "uniform"),
        default=_OWN.blend,
        help=IN_WORDS["blend"],
    )
    group.add_argument(
        "--save-maps", action="store_true", help="also write each map as 16-bit grey PNG"
    )
    group.add_argument(
        "--format", choices=("png", "pdf"), default="png", help="pdf: a paper figure beside the PNG"
    )
    group.add_argument(
        "--dpi", type=_positive, default=None, help="paper figure at this resolution (e.g. 300)"
    )


def _positive(text: str) -> int:
    number = int(text) if text.strip().lstrip("+-").isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def _batch_size(text: str) -> int | None:
    return None if text == "auto" else _positive(text)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
