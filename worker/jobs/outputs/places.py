"""Where a job's images, checkpoints and pictures are, on storage that all machines share."""

from __future__ import annotations

from cam_engine.errors import InvalidOption, NoModelsFound
from cam_engine.experiments.data_root import DataRoot, without_root
from cam_engine.experiments.finding import Experiment, ModelFolder
from cam_engine.stores.access import is_in_bucket
from worker.jobs.contract import JobFolder, JobRecord, JobRequest
from worker.jobs.outputs.posix import PosixStorage
from worker.jobs.outputs.storage import OutputFolder, OutputStorage
from worker.jobs.settings import JobSettings


class Places:
    """Finds them by what a job's record says."""

    def __init__(self, settings: JobSettings) -> None:
        """Raises InvalidOption where the output store cannot be used."""
        self.root = DataRoot(settings.data_folder)
        self._output_root = settings.output_root
        self.storage = _storage(settings, self.root)

    def experiment(self, request: JobRequest) -> Experiment:
        """The job's experiment. Raises PathOutsideRoot or ExperimentNotFound."""
        return self.root.experiment(request.experiment)

    def output(self, record: JobRecord) -> OutputFolder:
        """The job's output folder. Raises what `experiment` raises, or InvalidOption."""
        return self.storage.open(record.folder or self._as_once(record.request))

    def model(self, record: JobRecord, index: int) -> ModelFolder:
        """The checkpoint of a job's model as it is now. Raises NoModelsFound."""
        name = record.models[index].name
        for folder in self.root.models(self.experiment(record.request), [name]):
            if folder.name == name:
                return folder
        raise NoModelsFound(f"{name} is not in the experiment any more")

    def without_roots(self, text: str) -> str:
        """A message for people elsewhere, without where the roots are on this machine."""
        text = self.root.without_root(text)
        return text if self._output_root is None else without_root(text, self._output_root)

    def _as_once(self, request: JobRequest) -> JobFolder:
        """Where older versions put the pictures, which did not record it."""
        place = self.storage.place(request)
        beside = request.output is None and place.below == "output"
        return JobFolder(below="data", path=place.path) if beside else place


def _storage(settings: JobSettings, root: DataRoot) -> OutputStorage:
    named = settings.output_store is not None or settings.output_root is not None
    if is_in_bucket(settings.data) and not named:
        raise InvalidOption(
            "the data root is in a bucket, beside whose experiments no pictures are put: set "
            "GRADCAM_OUTPUT_STORE or GRADCAM_OUTPUT_ROOT, for the service and for all workers"
        )
    if settings.output_store is None:
        return PosixStorage(root, settings.output_root)
    from worker.jobs.outputs.s3 import ObjectStorage  # noqa: PLC0415 (an extra)

    return ObjectStorage(settings.output_store, root)
