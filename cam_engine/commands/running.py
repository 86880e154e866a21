"""What the experiment and images commands do, once their words are understood."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cam_engine.class_names import no_classes, no_classes_in_words
from cam_engine.commands import exit_status
from cam_engine.commands.asked_models import explainer_asked
from cam_engine.commands.assumed_statistics import doubt_after_a_run
from cam_engine.commands.console import Console, ModelResult
from cam_engine.commands.data_paths import output_beside, see
from cam_engine.confined import ConfinedFolder
from cam_engine.errors import (
    CamError,
    InvalidOption,
    NoImagesFound,
    OutputNotWritable,
    error_of_item,
)
from cam_engine.experiments.finding import (
    DEFAULT_OUTPUT,
    Experiment,
    FoundImages,
    ImageItem,
    ModelFolder,
    find_experiments,
    look_for_images,
)
from cam_engine.experiments.folder_depth import FolderDepth
from cam_engine.experiments.picking import pick_by_errors, pick_images
from cam_engine.experiments.skipped import Skipped
from cam_engine.images.decoded import counted
from cam_engine.images.preparing import ImageLimits
from cam_engine.maps.explainer import Explainer
from cam_engine.options import STAGES, CamOptions, DecodingOptions, FigureStyle
from cam_engine.outputs.drawing_pool import DrawingPool, drawing_processes
from cam_engine.outputs.figure_writer import picture_files
from cam_engine.outputs.files import make_folder, remove_half_written
from cam_engine.outputs.folder_lock import HeldFolder
from cam_engine.outputs.pipeline import RunRequest, run, truth_margins
from cam_engine.outputs.provenance import remove_made_otherwise
from cam_engine.outputs.summaries import (
    ModelSummary,
    model_summary_object,
    said_of,
    write_merged_summary,
    write_model_summary,
)
from cam_engine.pictures.recipes import run_facts, to_json
from cam_engine.process.threads import usable_cores
from cam_engine.short_names import speakable
from cam_engine.stores import access


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """A classifier of which nothing could be made, and why."""

    model: str
    code: str
    detail: str


Outcome = ModelSummary | ModelFailure


def run_experiments(arguments: argparse.Namespace) -> int:
    """All chosen classifiers of all experiments at `--exp-folder`. Answers the exit status."""
    session = _session(arguments)
    console = session.console
    experiments = find_experiments(arguments.exp_folder)
    outcomes: list[Outcome] = []
    problems: list[CamError] = []
    left_out: list[tuple[str, Skipped]] = []
    for experiment in experiments:
        output = _experiment_output(arguments.output_base, experiment, len(experiments))
        try:
            done, skipped = _run_experiment(experiment, output, session)
        except (OutputNotWritable, BrokenPipeError):
            raise
        except Exception as raised:
            # With several experiments, one that is empty does not stop the others.
            error = error_of_item(raised, experiment.name)
            problems.append(error)
            console.problem(experiment.name, error.code, str(error))
            continue
        outcomes += done
        left_out.append((experiment.name if len(experiments) > 1 else "", skipped))
    if len(problems) == len(experiments):
        return exit_status.NOTHING_DONE
    _report(console, outcomes, left_out)
    return max(_exit_status(outcomes), exit_status.SOME_FAILED if problems else exit_status.DONE)


def run_images(arguments: argparse.Namespace) -> int:
    """One classifier over an image or a folder. Answers the exit status."""
    session = _session(arguments)
    see(arguments.model)
    images = look_for_images(arguments.images, outputs=[arguments.output])
    if not images.items:
        left_out = f"; skipped: {images.skipped.words}" if images.skipped else ""
        raise NoImagesFound(
            f"no test images found in {access.shown(arguments.images)}: expected JPEG, PNG, WebP, "
            f"BMP, TIFF or GIF files there or in folders below{left_out}"
        )
    root = arguments.images if arguments.images.is_dir() else arguments.images.parent
    job = _Job(
        model=ModelFolder(speakable(arguments.model.absolute().parent.name), arguments.model),
        images=images,
        images_root=root,
        folder=ConfinedFolder(arguments.output),
        depth=FolderDepth(images.items),
    )
    try:
        summary = _run_model(job, session)
    except (CamError, BrokenPipeError):
        raise
    except Exception as raised:
        raise error_of_item(raised, job.model.name) from raised
    session.console.written(arguments.output)
    _report(session.console, [summary], [("", images.skipped)])
    return _exit_status([summary])


def options_from(arguments: argparse.Namespace) -> CamOptions:
    """The engine's options from parsed arguments. Raises InvalidOption."""
    standard = getattr(arguments, "use_standard_gradcam", False)
    if standard and arguments.method not in (None, "gradcam"):
        raise InvalidOption(
            f"--use-standard-gradcam and --method {arguments.method} contradict each other"
        )
    layers = [name for group in arguments.layers or [] for name in group]
    defaults = CamOptions()
    return CamOptions(
        method="gradcam" if standard else arguments.method or defaults.method,
        layers=tuple(name for name in layers if name != "fused") if layers else STAGES,
        fused=arguments.fused or "fused" in layers,
        fusion=arguments.fusion,
        score=arguments.score,
        target=arguments.target,
        taps=arguments.taps,
        clahe=not arguments.no_clahe,
        colormap=arguments.colormap,
        alpha=defaults.alpha if arguments.alpha is None else arguments.alpha,
        blend=arguments.blend,
        decoding=DecodingOptions(arguments.intensity, arguments.background, arguments.page),
    )


def style_from(arguments: argparse.Namespace) -> FigureStyle:
    """Which files are made of an image, from parsed arguments."""
    return FigureStyle(
        save_maps=arguments.save_maps, paper_format=arguments.format, paper_dpi=arguments.dpi
    )


@dataclass(frozen=True, slots=True)
class _Session:
    """One command: its arguments, what they mean, and where it speaks."""

    arguments: argparse.Namespace
    options: CamOptions
    style: FigureStyle
    console: Console


def _session(arguments: argparse.Namespace) -> _Session:
    return _Session(
        arguments,
        options_from(arguments),
        style_from(arguments),
        Console(quiet=arguments.quiet, json_output=arguments.json),
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """One classifier over images; depth: what the images of all of them are read by."""

    model: ModelFolder
    images: FoundImages
    images_root: Path
    folder: ConfinedFolder
    depth: FolderDepth


def _run_experiment(
    experiment: Experiment, output: Path, session: _Session
) -> tuple[list[Outcome], Skipped]:
    """What became of its classifiers, and what was left out of it."""
    console = session.console
    models = experiment.models(session.arguments.models)
    images = experiment.look_for_images(outputs=[output])
    if not images.items:
        raise experiment.no_images("test", images.skipped)
    console.experiment(experiment.name, len(models), len(images.items))
    outcomes: list[Outcome] = []
    confined = ConfinedFolder(output)
    depth = FolderDepth(images.items)
    for model in models:
        job = _Job(model, images, experiment.folder, confined.within(model.name), depth)
        try:
            outcomes.append(_run_model(job, session))
        except (OutputNotWritable, BrokenPipeError):  # no room; nobody to speak to
            raise
        except Exception as raised:
            error = error_of_item(raised, model.name)
            outcomes.append(ModelFailure(model.name, error.code, str(error)))
            console.problem(model.name, error.code, str(error))
    if summaries := [outcome for outcome in outcomes if isinstance(outcome, ModelSummary)]:
        write_merged_summary(confined, summaries)
        console.written(output)
    return outcomes, images.skipped + experiment.look_for_models().skipped


def _run_model(job: _Job, session: _Session) -> ModelSummary:
    arguments, options = session.arguments, session.options
    explainer = explainer_asked(job.model.checkpoint, arguments)
    classifier = explainer.classifier
    explainer.plan(options)
    if arguments.pick == "errors":  # for which all of them are looked at
        options = job.depth.added_to(options, job.images.items)
    items = _pick(job.images.items, explainer, arguments, options)
    options = job.depth.added_to(options, items)
    make_folder(job.folder)
    facts = run_facts(job.model.name, explainer, options, session.style)
    request = RunRequest(
        items=tuple(items),
        images_root=job.images_root,
        folder=job.folder,
        options=options,
        resume=arguments.resume,
        drawing=_drawing_beside(explainer.device.type),
    )
    with HeldFolder(job.folder):
        remove_half_written(job.folder)
        with session.console.progress(job.model.name, len(items)) as advance:
            outcome = run(explainer, facts, request, advance)
        folders = (item.true_class for item in job.images.items)
        summary = ModelSummary(
            facts,
            outcome.rows,
            outcome.seconds,
            outcome.resumed,
            job.images.skipped,
            no_classes(folders, classifier.class_names),
        )
        _remove_others(job.folder, summary, session.console)
        if arguments.pick != "errors":
            doubt = doubt_after_a_run(classifier, *summary.accuracy)
            session.console.notices([f"{job.model.name}: {doubt}"] if doubt else [])
        write_model_summary(job.folder, summary)
    return summary


@cache
def _drawing_beside(device_type: str) -> DrawingPool | None:
    """The processes that draw for all classifiers of the command; None: its threads do."""
    processes = drawing_processes(device_type, usable_cores())
    return DrawingPool(processes) if processes else None


def _remove_others(folder: ConfinedFolder, summary: ModelSummary, console: Console) -> None:
    """What other recipes made in the folder goes, once there is something in its place."""
    facts = summary.facts
    made = {
        file
        for row in summary.succeeded
        for file in picture_files(Path(), row.name, facts.options, facts.figures)
    }
    if made:
        console.replaced(facts.model, remove_made_otherwise(folder, {facts.digest}, made))


def _pick(
    items: Sequence[ImageItem],
    explainer: Explainer,
    arguments: argparse.Namespace,
    options: CamOptions,
) -> list[ImageItem]:
    if arguments.pick != "errors":
        return pick_images(items, arguments.max_images, arguments.pick, arguments.seed)
    margins = truth_margins(explainer, items, options, ImageLimits())
    return pick_by_errors(items, margins, arguments.max_images)


def _experiment_output(base: Path | None, experiment: Experiment, count: int) -> Path:
    if base is None:
        return output_beside(experiment.folder, DEFAULT_OUTPUT)
    return base if count == 1 else base / experiment.name


def _report(
    console: Console, outcomes: Sequence[Outcome], left_out: Sequence[tuple[str, Skipped]]
) -> None:
    console.table([_model_result(outcome) for outcome in outcomes])
    summaries = [outcome for outcome in outcomes if isinstance(outcome, ModelSummary)]
    console.notices(_notices(summaries))
    _say_folders_of_no_class(console, summaries)
    for where, skipped in left_out:
        console.skipped(where, skipped.words)
    failures = [outcome for outcome in outcomes if isinstance(outcome, ModelFailure)]
    if console.json_output:
        answer = {"models": [model_summary_object(s) for s in summaries], "failed_models": failures}
        sys.stdout.write(to_json(answer, indent=2) + "\n")


def _notices(summaries: Sequence[ModelSummary]) -> list[str]:
    """What was assumed of models, and of how many images what; each image counts once."""
    of_models = [
        f"{of_model.facts.model}: {said}"
        for of_model in summaries
        for said in of_model.facts.notices
    ]
    rows = {(row.image, row.decoding) for summary in summaries for row in summary.succeeded}
    of_images = counted(facts.notices for _, facts in sorted(rows, key=lambda pair: pair[0]))
    return [*of_models, *(said_of(count, notice) for count, notice in of_images)]


def _say_folders_of_no_class(console: Console, summaries: Sequence[ModelSummary]) -> None:
    """Each once, however many classifiers it is no class of."""
    models: dict[str, list[str]] = defaultdict(list)
    for summary in summaries:
        if counts := summary.folders_of_no_class:
            words = no_classes_in_words(counts, summary.facts.class_names)
            models[words].append(summary.facts.model)
    for words, names in models.items():
        all_of_them = "this model" if len(summaries) == 1 else "these models"
        whose = all_of_them if len(names) == len(summaries) else ", ".join(names)
        console.folders_of_no_class(whose, words)


def _model_result(outcome: Outcome) -> ModelResult:
    if isinstance(outcome, ModelFailure):
        return ModelResult(outcome.model, error=outcome.code)
    correct, known = outcome.accuracy
    return ModelResult(
        outcome.facts.model,
        images=len(outcome.succeeded),
        failed=len(outcome.failed),
        resumed=outcome.resumed,
        correct=correct,
        known=known,
        seconds=outcome.seconds,
    )


def _exit_status(outcomes: Sequence[Outcome]) -> int:
    written = sum(
        len(outcome.succeeded) for outcome in outcomes if isinstance(outcome, ModelSummary)
    )
    if not written:
        return exit_status.NOTHING_DONE
    whole = all(isinstance(outcome, ModelSummary) and not outcome.failed for outcome in outcomes)
    return exit_status.DONE if whole else exit_status.SOME_FAILED
