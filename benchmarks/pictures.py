"""How many images' pictures are drawn a second: by threads, by processes, and by the pipeline.

    python -m benchmarks.pictures [--experiment DIR] [--output docs/performance.md]

Maps are computed before, so that nothing but drawing, compressing and writing is measured. The
pipeline is the whole one, from files to files, with a network that answers with those maps at once.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

from benchmarks.documents import replace_block
from benchmarks.jobs import SAMPLE, copy_experiment, measured_by
from benchmarks.speed import held
from cam_engine.confined import ConfinedFolder
from cam_engine.errors import CamError, NonFiniteOutput
from cam_engine.experiments.finding import Experiment, ImageItem
from cam_engine.images.decoding import DEFAULT_LIMITS, decode, read_image_bytes
from cam_engine.maps.explainer import Explainer, NetworkInput, Target
from cam_engine.models.loading import load_classifier
from cam_engine.options import CamOptions, FigureStyle
from cam_engine.outputs.drawing_pool import DrawingPool, PooledWriter
from cam_engine.outputs.figure_writer import Figure, FigureWriter
from cam_engine.outputs.files import make_folder
from cam_engine.outputs.pipeline import RunRequest, run
from cam_engine.pictures.picture_set import ShownImage, at_most_output
from cam_engine.pictures.recipes import RunFacts, run_facts
from cam_engine.process.memory import reuse_large_blocks
from cam_engine.process.threads import usable_cores
from cam_engine.results import Explanation

LEAST_LINEAR, LEAST_OF_DRAWING = 0.9, 0.85
_NAMED = 32  # images that are really explained


@dataclass(frozen=True, slots=True)
class Rates:
    """Sets of pictures a second, of each round, by how many threads or processes."""

    by_threads: dict[int, list[float]]
    by_processes: dict[int, list[float]]
    pipeline: list[float]
    set_bytes: float


class FreeNetwork(Explainer):
    """Answers with explanations that are there already, at no cost."""

    ready: Sequence[Explanation] = ()

    def explain_each(
        self,
        inputs: Sequence[NetworkInput],
        options: CamOptions,
        targets: Sequence[Target] | None = None,
    ) -> list[Explanation | NonFiniteOutput]:
        return [self.ready[at % len(self.ready)] for at in range(len(inputs))]


def main() -> None:
    arguments = parse_arguments()
    reuse_large_blocks()
    with tempfile.TemporaryDirectory() as scratch:
        rates = measure(arguments, Path(scratch))
    lines = [*head_lines(arguments), *tables(rates)]
    print("\n".join(lines))
    if arguments.output:
        replace_block(arguments.output, "pictures", lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--experiment", type=Path, help="folder with cls_<arch>_*/best.pt and crops"
    )
    parser.add_argument("--model", default="cls_", help="part of a name")
    parser.add_argument("--images", type=int, default=400, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--processes", type=int, nargs="*", help="how many draw; default: 1, 2, 4 ... the cores"
    )
    parser.add_argument("--output", type=Path, help="Markdown file whose block is replaced")
    arguments = parser.parse_args()
    if arguments.experiment is None:
        arguments.experiment = sorted(SAMPLE.glob("*/experiments/experiment_*"))[0]
    if not arguments.processes:
        cores = usable_cores()
        arguments.processes = [n for n in (1, 2, 4, 8, 16, 32) if n < cores] + [cores]
    return arguments


def measure(arguments: argparse.Namespace, scratch: Path) -> Rates:
    """All of it in turns, so that a slow minute is slow for each."""
    folder = copy_experiment(
        arguments.experiment, scratch / "results", [arguments.model], arguments.images
    )
    experiment = Experiment(folder)
    model = experiment.models([])[0]
    classifier = load_classifier(model.checkpoint)
    explainer, options = Explainer(classifier), CamOptions()
    items = experiment.images()
    figures = explained(explainer, items, options)
    facts = run_facts(model.name, explainer, options, FigureStyle())
    free = FreeNetwork(classifier)
    free.ready = [one.explanation for one in figures]
    made = Rates({n: [] for n in arguments.processes}, {n: [] for n in arguments.processes}, [], 0)
    output = scratch / "output"
    for _ in range(arguments.rounds):
        for count in arguments.processes:
            writer = FigureWriter(facts, fresh(output))
            made.by_threads[count].append(rate(writer.write, figures, items, count))
        for count in arguments.processes:
            with closing(DrawingPool(count)) as pool:
                write = PooledWriter(pool, facts, fresh(output)).write
                rate(write, figures, items[: 4 * count], count)  # started
                made.by_processes[count].append(rate(write, figures, items, count))
        made.pipeline.append(of_pipeline(free, facts, experiment, items, fresh(output)))
    size = sum(file.stat().st_size for file in output.rglob("*.png")) / len(items)
    return Rates(made.by_threads, made.by_processes, made.pipeline, size)


def explained(
    explainer: Explainer, items: Sequence[ImageItem], options: CamOptions
) -> list[Figure]:
    """Figures of the first images, really explained."""
    figures = []
    for item in items[:_NAMED]:
        data = read_image_bytes(item.path, DEFAULT_LIMITS)
        pixels, decoding = decode(data, DEFAULT_LIMITS, options.decoding)
        prepared = explainer.prepare_image(pixels, options)
        (answer,) = explainer.explain_each([prepared.network_input], options)
        if isinstance(answer, CamError):
            raise answer
        shown = at_most_output(ShownImage(pixels, prepared.enhanced))
        figures.append(
            Figure(item.name, item.name, "0" * 64, item.true_class, shown, decoding, answer)
        )
    return figures


def rate(
    write: Callable[[Figure], object],
    figures: Sequence[Figure],
    items: Sequence[ImageItem],
    threads: int,
) -> float:
    """Sets a second; one for each item, so many at once."""
    wanted = [replace(one, name=item.name) for item, one in zip(items, cycle(figures))]
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, wanted))
    return len(wanted) / (time.perf_counter() - start)


def of_pipeline(
    free: FreeNetwork,
    facts: RunFacts,
    experiment: Experiment,
    items: Sequence[ImageItem],
    folder: ConfinedFolder,
) -> float:
    """Sets a second of a whole run whose network costs nothing, by as many processes as cores."""
    with closing(DrawingPool(usable_cores())) as pool:
        request = RunRequest(tuple(items), experiment.folder, folder, facts.options, drawing=pool)
        run(free, facts, replace(request, items=request.items[:64]))  # started
        outcome = run(free, facts, request)
    return len(outcome.rows) / outcome.seconds


def fresh(folder: Path) -> ConfinedFolder:
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    return ConfinedFolder(folder)


def head_lines(arguments: argparse.Namespace) -> list[str]:
    experiment = arguments.experiment
    named = "" if SAMPLE in experiment.parents else f" --experiment {experiment.name}"
    return measured_by(f"python -m benchmarks.pictures{named}")


def tables(rates: Rates) -> list[str]:
    one = statistics.median(rates.by_processes[min(rates.by_processes)])
    lines = [
        f"Seven pictures an image, {rates.set_bytes / 1024:.0f} KiB; sets a second:",
        "",
        "| at once | by threads | by processes | share of linear |",
        "|---|---|---|---|",
    ]
    for count, found in rates.by_processes.items():
        threads, processes = statistics.median(rates.by_threads[count]), statistics.median(found)
        lines.append(
            f"| {count} | {threads:.0f} | {processes:.0f} "
            f"| {held(processes / one / count, LEAST_LINEAR)} |"
        )
    whole, most = (
        statistics.median(rates.pipeline),
        max(statistics.median(found) for found in rates.by_processes.values()),
    )
    return [
        *lines,
        "",
        f"The whole pipeline with a network that costs nothing: {whole:.0f} images a second, "
        f"{held(whole / most, LEAST_OF_DRAWING)} of what the processes draw.",
        "",
    ]


if __name__ == "__main__":
    main()
