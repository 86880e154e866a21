"""What was assumed of a job's models and images: as Redis counts it, and as a job says it.

A field of the hash is "<model>:models:<text>" or "<model>:images:<text>", its value how many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker.jobs.contract import JobNotice, JobRecord

MOST_LISTED = 50
MOST_COUNTED = 1000  # distinct fields of a job; those beyond are only known to be there
BEYOND = ""

_LONGEST_TEXT = 1000


def of_model(model: int, text: str) -> str:
    """The field of a sentence on a model's file; model: its index in the job."""
    return f"{model}:models:{text[:_LONGEST_TEXT]}"


def of_image(model: int, text: str) -> str:
    """The field of a sentence on an image that the model explains."""
    return f"{model}:images:{text[:_LONGEST_TEXT]}"


def listed(record: JobRecord, counts: Mapping[bytes, bytes]) -> tuple[JobNotice, ...]:
    """Distinct sentences, those on models first, then by how many images they are of.

    At most MOST_LISTED, and one that says how many more there are. Where models explain the same
    images, each image counts once.
    """
    of_models: dict[str, set[int]] = {}
    of_images: dict[tuple[str, int | None], int] = {}
    has_own_images = record.request.pick == "errors"
    for field, value in counts.items():
        if field.decode() == BEYOND:
            continue
        model, of, text = field.decode().split(":", 2)
        if of == "models":
            of_models.setdefault(text, set()).add(int(model))
        else:
            key = (text, int(model) if has_own_images else None)
            of_images[key] = max(of_images.get(key, 0), int(value))
    every = [*_on_models(record, of_models), *_on_images(record, of_images)]
    more = len(every) - MOST_LISTED
    if more <= 0:
        return tuple(every)
    at_least = "at least " if BEYOND.encode() in counts else ""
    text = f"{at_least}{more} more: summary.json of each model has all of its own"
    return (*every[:MOST_LISTED], JobNotice(text=text, count=more, of="notices", model=None))


def _on_models(record: JobRecord, of_models: Mapping[str, set[int]]) -> Iterator[JobNotice]:
    for text, models in sorted(of_models.items(), key=lambda said: (min(said[1]), said[0])):
        only = record.models[min(models)].id if len(models) == 1 else None
        yield JobNotice(text=text, count=len(models), of="models", model=only)


def _on_images(
    record: JobRecord, of_images: Mapping[tuple[str, int | None], int]
) -> Iterator[JobNotice]:
    order = sorted(of_images, key=lambda key: (-of_images[key], key[1] or 0, key[0]))
    for text, model in order:
        only = None if model is None else record.models[model].id
        yield JobNotice(text=text, count=of_images[text, model], of="images", model=only)
