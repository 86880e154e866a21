"""`gradcam report`: can this experiment's models and maps be believed?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cam_engine.commands import exit_status
from cam_engine.commands.asked_models import explainer_asked
from cam_engine.commands.console import wide_console
from cam_engine.commands.data_paths import output_beside
from cam_engine.confined import ConfinedFolder
from cam_engine.errors import CamError, InvalidOption, OutputNotWritable, error_of_item
from cam_engine.experiments.finding import SPLITS, Experiment, find_experiments
from cam_engine.options import CamOptions, DecodingOptions
from cam_engine.outputs.files import make_plain_folder, write_into
from cam_engine.outputs.folder_lock import HeldFolder
from cam_engine.short_names import speakable
from cam_engine.stores import access

if TYPE_CHECKING:
    from cam_engine.reports.report import Report

DEFAULT_OUTPUT = "gradcam_report"
_NEEDED = ("sklearn", "skimage", "imagehash", "typst", "xlsxwriter")
_SIGNS = {"pass": "[green]pass[/green]", "fail": "[red]fail[/red]", "cannot_tell": "cannot tell"}


def run_report(arguments: argparse.Namespace) -> int:
    """Make the reports of all experiments at `--exp-folder`. Answers the exit status."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise InvalidOption(
            f"a report needs {', '.join(missing)}: pip install 'gradcam-service[report]'"
        )
    if arguments.split not in SPLITS:
        raise InvalidOption(f"--split {arguments.split} is none of {', '.join(SPLITS)}")
    for path in (arguments.boxes, arguments.fields):
        if path is not None and not path.exists():
            raise InvalidOption(f"{path} is not there")
    experiments = find_experiments(arguments.exp_folder)
    console = wide_console(stderr=arguments.json)
    statuses = []
    for experiment in experiments:
        output = _output(arguments.output, experiment, len(experiments))
        try:
            statuses.append(_report(experiment, output, arguments))
        except (OutputNotWritable, BrokenPipeError):
            raise
        except Exception as raised:
            error = error_of_item(raised, experiment.name)
            if len(experiments) == 1:
                raise error from raised
            console.print(f"{experiment.name}: error [{error.code}]: {error}", markup=False)
            statuses.append(exit_status.NOTHING_DONE)
    if all(status == exit_status.NOTHING_DONE for status in statuses):
        return exit_status.NOTHING_DONE
    return min(max(statuses), exit_status.SOME_FAILED)


def _report(experiment: Experiment, output: Path, arguments: argparse.Namespace) -> int:
    access.look_below(experiment.folder)  # also tables of what training measured
    # What a report is made with is not imported for an option that is wrong.
    from cam_engine.reports.documents.page import page  # noqa: PLC0415
    from cam_engine.reports.documents.paper import paper  # noqa: PLC0415
    from cam_engine.reports.documents.workbook import workbook  # noqa: PLC0415
    from cam_engine.reports.making import ReportRequest, make_report  # noqa: PLC0415
    from cam_engine.reports.study import QUICK, THOROUGH  # noqa: PLC0415

    console = wide_console(stderr=arguments.json)
    start = time.monotonic()

    def tell(text: str) -> None:
        if not arguments.quiet:
            seconds = time.monotonic() - start
            console.print(f"{seconds:6.0f} s  {speakable(text)}", markup=False)

    request = ReportRequest(
        experiment=experiment,
        models=tuple(experiment.models(arguments.models)),
        load=lambda checkpoint: explainer_asked(checkpoint, arguments),
        split=arguments.split,
        boxes=arguments.boxes,
        fields=arguments.fields,
        max_images=arguments.max_images,
        seed=arguments.seed,
        effort=THOROUGH if arguments.thorough else QUICK,
        options=CamOptions(
            layers=(),
            fused=True,
            clahe=not arguments.no_clahe,
            decoding=DecodingOptions(arguments.intensity, arguments.background, arguments.page),
        ),
    )
    folder = ConfinedFolder(output)
    make_plain_folder(folder)
    with HeldFolder(folder):
        report = make_report(request, folder, tell)
        if all(model.error is not None for model in report.models):
            code, detail = report.models[0].error or ("", "")
            raise CamError(f"no model could be reported on; the first: error [{code}]: {detail}")
        tell("writing the documents")
        answer = json.dumps(report.as_json(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        write_into(folder, "report.json", answer.encode())
        write_into(folder, "report.html", page(report).encode())
        write_into(folder, "tables.xlsx", workbook(report))
        write_into(folder, "report.pdf", paper(report))
    if arguments.json:
        sys.stdout.write(answer)
    if not arguments.quiet:
        _show(report, console)
        console.print(f"report in {output / 'report.html'}", markup=False)
    return exit_status.SOME_FAILED if report.failed else exit_status.DONE


def _show(report: Report, console: Console) -> None:
    """A line a criterion that did not pass, and how many did."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("model", "criterion", "verdict"):
        table.add_column(head)
    passed = 0
    of_models = [(model.name, model.criteria) for model in report.models]
    for name, criteria in [("(experiment)", report.criteria), *of_models]:
        for criterion in criteria:
            if criterion.verdict == "pass":
                passed += 1
            else:
                table.add_row(speakable(name), criterion.id, _SIGNS[criterion.verdict])
    for model in report.models:
        if model.error is not None:
            table.add_row(speakable(model.name), f"error [{model.error[0]}]", _SIGNS["fail"])
    console.print(table)
    console.print(f"{passed} criteria passed")


def _output(base: Path | None, experiment: Experiment, count: int) -> Path:
    if base is None:
        return output_beside(experiment.folder, DEFAULT_OUTPUT)
    return base if count == 1 else base / experiment.name
