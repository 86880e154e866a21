"""Where a job's images, checkpoints and pictures are, on storage that all machines share."""

from __future__ import annotations

from pathlib import Path

from cam_engine.data_root import DataRoot, inside
from cam_engine.errors import InvalidOption
from cam_engine.experiments import DEFAULT_OUTPUT, Experiment, ModelFolder
from worker.contract import JobRecord, JobRequest
from worker.store.settings import JobSettings


class Places:
    """Finds them by what a job's record says."""

    def __init__(self, settings: JobSettings) -> None:
        self.root = DataRoot(settings.data)
        self._output_root = settings.output_root

    def experiment(self, request: JobRequest) -> Experiment:
        """The job's experiment. Raises PathOutsideRoot or ExperimentNotFound."""
        return self.root.experiment(request.experiment)

    def output(self, request: JobRequest) -> Path:
        """The job's output folder. Raises what `experiment` raises, or InvalidOption."""
        if request.output is None:
            return self.experiment(request).folder / DEFAULT_OUTPUT
        if self._output_root is None:
            raise InvalidOption("output: GRADCAM_OUTPUT_ROOT is not set, so none may be named")
        return inside(self._output_root, request.output)

    def outputs(self) -> list[Path]:
        """All folders that jobs may have written their manifests into."""
        found = [one.folder / DEFAULT_OUTPUT for one in self.root.experiments()]
        if self._output_root is not None and self._output_root.is_dir():
            found += [path.parent for path in self._output_root.glob("**/runs") if path.is_dir()]
        return found

    def model(self, record: JobRecord, index: int) -> ModelFolder:
        """The checkpoint of a job's model as it is now. Raises NoModelsFound."""
        name = record.models[index].name
        models = self.experiment(record.request).models([name])
        return next(one for one in models if one.name == name)
