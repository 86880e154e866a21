"""One classifier over many images: decoding, computing and writing overlap in bounded memory."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cam_engine import text_keys
from cam_engine.class_names import class_index, class_meant
from cam_engine.confined import ConfinedFolder
from cam_engine.errors import (
    CamError,
    DataUnavailable,
    OutOfMemory,
    OutputNotWritable,
    error_of_item,
)
from cam_engine.experiments.finding import ImageItem
from cam_engine.images.decoded import ImageFacts
from cam_engine.images.decoding import DEFAULT_LIMITS, Decode, ImageLimits, decode, read_image_bytes
from cam_engine.images.png import is_whole_png
from cam_engine.maps.explainer import Explainer, NetworkInput
from cam_engine.options import CamOptions
from cam_engine.outputs.drawing_pool import DrawingPool, PooledWriter
from cam_engine.outputs.figure_writer import Figure, FigureWriter, picture_files
from cam_engine.outputs.files import PicturePaths
from cam_engine.outputs.provenance import is_made_by, text_in
from cam_engine.outputs.summaries import row_from_json
from cam_engine.pictures.picture_set import ShownImage, at_most_output
from cam_engine.pictures.recipes import Failed, Row, RunFacts, Succeeded
from cam_engine.results import Explanation, RgbImage
from cam_engine.short_names import speakable
from cam_engine.stores import access

OnRow = Callable[[Row], None]

_FIRST_PASS = 4  # images, where passes are to be short and it is not known how long they take


ReadImage = Callable[[Path, ImageLimits], bytes]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to do with a classifier: which images, from where, drawn how, written where.

    images_root: images are named relative to it in summaries. folder: the classifier's own; a path
    is trusted, while links below it are not followed. pass_seconds: how long a pass of the
    network should take at most, so that rows come as often; None: passes are as large as they can
    be. decode: makes pixels of a file's bytes; for files of untrusted origin, that of a
    DecodingPool. read: an image's bytes. Raises CamError. drawing: processes that draw; None:
    threads of this process do.
    """

    items: tuple[ImageItem, ...]
    images_root: Path
    folder: Path | ConfinedFolder
    options: CamOptions
    resume: bool = False
    limits: ImageLimits = DEFAULT_LIMITS
    decode: Decode = decode
    pass_seconds: float | None = None
    read: ReadImage = read_image_bytes
    drawing: DrawingPool | None = None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """Rows in the order of the request's items; `resumed` of them were there already.

    computing_seconds: of `seconds`, those in which the network ran; in the rest its device waited.
    """

    rows: tuple[Row, ...]
    resumed: int
    seconds: float
    computing_seconds: float


@dataclass(frozen=True, slots=True)
class _Loaded:
    item: ImageItem
    network_input: NetworkInput
    shown: ShownImage
    sha256: str
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class _AlreadyThere:
    row: Succeeded


_Load = _Loaded | _AlreadyThere | Failed


def run(
    explainer: Explainer, facts: RunFacts, request: RunRequest, on_row: OnRow | None = None
) -> RunOutcome:
    """Explain the images and write their pictures.

    An image that cannot be read becomes a Failed row and the rest goes on. Raises what concerns
    the whole run: LayerNotFound, ClassNotFound, OutOfMemory, OutputNotWritable.
    """
    start = time.perf_counter()
    explainer.plan(request.options)
    waiting = 0 if request.drawing is None else request.drawing.size  # for processes that draw
    threads = worker_threads() + waiting
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="pictures") as pool:
        task = _Run(explainer, facts, request, pool)
        try:
            rows = tuple(task.rows(on_row or (lambda _row: None)))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    seconds = time.perf_counter() - start
    return RunOutcome(rows, task.resumed, seconds, task.computing_seconds)


def truth_margins(
    explainer: Explainer,
    items: Sequence[ImageItem],
    options: CamOptions,
    limits: ImageLimits,
    decode: Decode = decode,
    read: ReadImage = read_image_bytes,
) -> list[float | None]:
    """Probability of each image's true class less that of the best other one, -1..1.

    decode: as in RunRequest.

    None where the true class is unknown to the classifier or the image cannot be read.
    """
    names = explainer.classifier.class_names
    margins: list[float | None] = []
    with ThreadPoolExecutor(max_workers=worker_threads()) as pool:
        for chunk in _chunks(items, explainer.batch_size):
            inputs = list(
                pool.map(
                    lambda item: _network_input(explainer, read, item, options, limits, decode),
                    chunk,
                )
            )
            known = [loaded for loaded in inputs if loaded is not None]
            answers = iter(explainer.probabilities(known))
            for item, pixels in zip(chunk, inputs, strict=True):
                row = None if pixels is None else next(answers)
                truth = class_index(item.true_class, names)
                if row is None or truth is None:
                    margins.append(None)
                    continue
                others = [p for index, p in enumerate(row) if index != truth]
                margins.append(float(row[truth] - max(others, default=0.0)))
    return margins


def worker_threads() -> int:
    """Threads that decode, draw and encode: the cores, but no more than help one device."""
    return max(2, min(8, os.cpu_count() or 2))


class _Run:
    """The moving parts of one `run`."""

    def __init__(
        self, explainer: Explainer, facts: RunFacts, request: RunRequest, pool: ThreadPoolExecutor
    ) -> None:
        self._explainer = explainer
        self._facts = facts
        self._request = request
        self._pool = pool
        self._folder = ConfinedFolder.of(request.folder)
        self._writer = FigureWriter(facts, self._folder)
        self._draw = self._writer.write
        if request.drawing is not None:
            self._draw = PooledWriter(request.drawing, facts, self._folder).write
        largest = explainer.batch_size
        self._images_a_pass = largest if request.pass_seconds is None else min(_FIRST_PASS, largest)
        self.resumed = 0
        self.computing_seconds = 0.0

    def rows(self, on_row: OnRow) -> Iterator[Row]:
        """Rows in order, each as soon as it and those before it are done.

        At most two batches are being loaded and two being written.
        """
        pending: deque[Future[Row] | Row] = deque()
        for batch in self._loaded_batches():
            pending.extend(self._start_batch(batch))
            while pending and (
                len(pending) > 2 * self._explainer.batch_size or _is_done(pending[0])
            ):
                yield _finish(pending.popleft(), on_row)
        while pending:
            yield _finish(pending.popleft(), on_row)

    def _loaded_batches(self) -> Iterator[list[_Load]]:
        ahead: deque[list[Future[_Load]]] = deque()
        items = access.ahead(self._request.items, lambda item: item.path)
        while chunk := list(islice(items, self._images_a_pass)):
            ahead.append([self._pool.submit(self._load, item) for item in chunk])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.popleft()]
        while ahead:
            yield [future.result() for future in ahead.popleft()]

    def _load(self, item: ImageItem) -> _Load:
        try:
            data = self._request.read(item.path, self._request.limits)
            digest = hashlib.sha256(data).hexdigest()
            if self._request.resume and (row := self._row_already_there(item, digest)):
                return _AlreadyThere(row)
            options = self._request.options
            image, facts = self._request.decode(data, self._request.limits, options.decoding)
            prepared = self._explainer.prepare_image(image, options)
            shown = at_most_output(ShownImage(image, prepared.enhanced))
        except DataUnavailable:  # of the whole run
            raise
        except Exception as error:
            return self._failed(item, error)
        return _Loaded(item, prepared.network_input, shown, digest, facts)

    def _start_batch(self, batch: Sequence[_Load]) -> Iterator[Future[Row] | Row]:
        inputs = [loaded.network_input for loaded in batch if isinstance(loaded, _Loaded)]
        start = time.perf_counter()
        answers = iter(self._explainer.explain_each(inputs, self._request.options))
        seconds = time.perf_counter() - start
        self.computing_seconds += seconds
        self._images_a_pass = self._next_pass(len(inputs), seconds)
        for result in batch:
            match result:
                case Failed():
                    yield result
                case _AlreadyThere():
                    self.resumed += 1
                    yield result.row
                case _Loaded():
                    answer = next(answers)
                    if isinstance(answer, CamError):
                        yield self._failed(result.item, answer)
                    else:
                        yield self._pool.submit(self._write, result, answer)

    def _next_pass(self, images: int, seconds: float) -> int:
        """How many images the pass after next should have: a power of two.

        Kernels are compiled for each size of a batch, so there should be few of them.
        """
        wanted = self._request.pass_seconds
        if wanted is None or images == 0:
            return self._images_a_pass
        fitting = max(1, int(wanted * images / max(seconds, 1e-6)))
        return min(1 << (fitting.bit_length() - 1), self._explainer.batch_size)

    def _write(self, loaded: _Loaded, explanation: Explanation) -> Row:
        try:
            return self._written(loaded, explanation)
        except (OutputNotWritable, OutOfMemory):  # of the whole run
            raise
        except Exception as error:
            return self._failed(loaded.item, error)

    def _written(self, loaded: _Loaded, explanation: Explanation) -> Row:
        figure = Figure(
            name=loaded.item.name,
            image=self._shown(loaded.item),
            image_sha256=loaded.sha256,
            true_class=self._true_class(loaded.item),
            shown=loaded.shown,
            decoding=loaded.facts,
            explanation=explanation,
        )
        return self._draw(figure)

    def _row_already_there(self, item: ImageItem, digest: str) -> Succeeded | None:
        """The row of pictures that are all there, whole, and made in just this way."""
        facts, folder = self._facts, self._folder
        files = picture_files(Path(), item.name, facts.options, facts.figures)
        try:
            text = text_in(folder, PicturePaths(Path(), item.name).main())
            row = row_from_json(json.loads(text[text_keys.ROW]))
        except (CamError, KeyError, TypeError, ValueError, RecursionError):
            return None  # no figure, or not one of ours
        same = is_made_by(text, self._writer.run_digest, digest)
        whole = same and all(_is_whole(folder, file) for file in files)
        return row if whole and isinstance(row, Succeeded) else None

    def _failed(self, item: ImageItem, raised: Exception) -> Failed:
        error = error_of_item(raised, item.name)
        return Failed(self._shown(item), item.name, self._true_class(item), error.code, str(error))

    def _true_class(self, item: ImageItem) -> str | None:
        return class_meant(item.true_class, self._explainer.classifier.class_names)

    def _shown(self, item: ImageItem) -> str:
        root = self._request.images_root
        below = root in item.path.parents
        return speakable(item.path.relative_to(root).as_posix() if below else item.path.name)


def _is_done(row: Future[Row] | Row) -> bool:
    return not isinstance(row, Future) or row.done()


def _finish(row: Future[Row] | Row, on_row: OnRow) -> Row:
    done = row.result() if isinstance(row, Future) else row
    on_row(done)
    return done


def _is_whole(folder: ConfinedFolder, file: Path) -> bool:
    try:
        return is_whole_png(folder.read(file)) if file.suffix == ".png" else folder.is_file(file)
    except OSError:
        return False


def _network_input(
    explainer: Explainer,
    read: ReadImage,
    item: ImageItem,
    options: CamOptions,
    limits: ImageLimits,
    decode: Decode,
) -> RgbImage | None:
    """The image as the network would see it; None where it cannot be read."""
    try:
        image = decode(read(item.path, limits), limits, options.decoding).pixels
        return explainer.prepare_image(image, options).network_input.pixels
    except DataUnavailable:  # of the whole run
        raise
    except Exception as error:
        error_of_item(error, item.name)
        return None


def _chunks(items: Sequence[ImageItem], size: int) -> Iterator[list[ImageItem]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
