"""Every error that the service answers with: one table of codes, and the way to raise them.

RFC 9457 problem details. Codes are part of the contract; `docs/errors.md` is made from the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from cam_engine import errors as cam_errors
from cam_engine.errors import CamError
from cam_engine.experiments.data_root import without_root

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of error: stable code, HTTP status, a short title, and what to do about it."""

    code: str
    status: int
    title: str
    remedy: str


_ROWS = (
    ProblemType("malformed-body", 400, "Body cannot be read", "Send whole multipart or JSON."),
    ProblemType("origin-not-allowed", 400, "CORS refused", "Set GRADCAM_CORS_ORIGINS."),
    ProblemType("api-key-required", 401, "API key required", "Send X-API-Key, or a bearer token."),
    ProblemType("api-key-invalid", 401, "API key unknown", "Check the key, or ask for a new one."),
    ProblemType("view-token-invalid", 401, "View token unknown", "Have a new one made."),
    ProblemType("view-token-expired", 401, "View token expired", "Have a new one made."),
    ProblemType("view-token-scope", 403, "View token is for less", "Ask for what it names."),
    ProblemType("path-outside-root", 403, "Path leaves the data root", "Name a path below it."),
    ProblemType("cross-site-request", 403, "Page of another origin", "Set GRADCAM_CORS_ORIGINS."),
    ProblemType("not-found", 404, "No such address", "See /docs for all addresses."),
    ProblemType("model-not-found", 404, "No such model", "GET /v1/models lists them."),
    ProblemType("no-models-found", 404, "No models", "Put experiments below the data root."),
    ProblemType(
        "experiment-not-found", 404, "No such experiment", "GET /v1/experiments lists them."
    ),
    ProblemType("image-not-found", 404, "No such image", "GET the experiment's images."),
    ProblemType("no-images-found", 404, "No images", "Put crops where the guide expects them."),
    ProblemType("explanation-not-found", 404, "No such explanation", "POST the image again."),
    ProblemType("job-not-found", 404, "No such job", "GET /v1/jobs lists them."),
    ProblemType("file-not-found", 404, "No such file", "GET the job's items for their files."),
    ProblemType("method-not-allowed", 405, "Method not allowed", "See the Allow header."),
    ProblemType("not-acceptable", 406, "No such representation", "Ask for a type that is offered."),
    ProblemType("request-timeout", 408, "Request came too slowly", "Send it again."),
    ProblemType("model-ambiguous", 409, "Several models match", "Give the whole id."),
    ProblemType("output-busy", 409, "Output in use", "Wait, or name another output."),
    ProblemType(
        "output-holds-others", 409, "Output holds other pictures", "Name another, or replace."
    ),
    ProblemType("result-replaced", 410, "Picture was replaced", "Submit the job again."),
    ProblemType("job-unfinished", 409, "Job has not ended", "Cancel it first."),
    ProblemType("nothing-to-retry", 409, "Nothing to retry", "All items have succeeded."),
    ProblemType("explanation-gone", 410, "Explanation is gone", "POST the image again."),
    ProblemType("host-not-allowed", 421, "Name not known here", "Set GRADCAM_HOSTS."),
    ProblemType("body-too-large", 413, "Body too large", "Send fewer or shorter fields."),
    ProblemType("image-too-large", 413, "Image too large", "Send a smaller image."),
    ProblemType(
        "unsupported-media-type", 415, "Body's type not read", "Send multipart/form-data or JSON."
    ),
    ProblemType("invalid-request", 422, "Fields are wrong", "See `errors`, field by field."),
    ProblemType("invalid-option", 422, "Option is wrong", "Choose a value that is allowed."),
    ProblemType("invalid-image", 422, "Not a whole image", "Send JPEG, PNG, WebP, BMP, TIFF, GIF."),
    ProblemType("page-not-found", 422, "No such page", "Name one that the image has, or none."),
    ProblemType("layer-not-found", 422, "No such layer", "GET the model for its layers."),
    ProblemType("layer-not-spatial", 422, "Layer has no grid", "Name one before pooling."),
    ProblemType("method-not-possible", 422, "Method not for this network", "Choose another one."),
    ProblemType("class-not-found", 422, "No such class", "GET the model for its classes."),
    ProblemType("too-many-images", 422, "Too many images at once", "Submit a job: POST /v1/jobs."),
    ProblemType("idempotency-conflict", 422, "Idempotency-Key used before", "Use a new key."),
    ProblemType("webhook-not-allowed", 422, "Webhook host refused", "Have the host allowed."),
    ProblemType("checkpoint-invalid", 422, "Model file damaged", "Replace the model file."),
    ProblemType("checkpoint-unsafe", 422, "Model file would run code", "Save weights only."),
    ProblemType("architecture-unknown", 422, "Architecture unknown", "Set model_name in the file."),
    ProblemType("weights-mismatch", 422, "Weights do not fit", "Correct model_name in the file."),
    ProblemType("class-names-mismatch", 422, "Class names do not fit", "Correct class_names."),
    ProblemType("non-finite-output", 422, "Model answers NaN", "Its weights are damaged."),
    ProblemType("headers-too-large", 431, "Headers too large", "Send fewer or shorter headers."),
    ProblemType("rate-limited", 429, "Too many requests", "Wait as Retry-After says."),
    ProblemType("internal-error", 500, "Internal error", "Report it with the request id."),
    ProblemType("queue-full", 503, "Busy", "Try again as Retry-After says."),
    ProblemType("deadline-exceeded", 503, "Not done in time", "Try again as Retry-After says."),
    ProblemType("output-not-writable", 503, "Output cannot be written", "Make room for it."),
    ProblemType("data-unavailable", 503, "Data's bucket is away", "Try again as Retry-After says."),
    ProblemType("jobs-unavailable", 503, "No jobs here", "Set GRADCAM_REDIS_URL."),
    ProblemType("out-of-memory", 503, "Device out of memory", "Try again later."),
    ProblemType("shutting-down", 503, "Shutting down", "Try again as Retry-After says."),
    ProblemType("warming-up", 503, "Not ready yet", "Ask /readyz again."),
)
PROBLEMS: Mapping[str, ProblemType] = MappingProxyType({row.code: row for row in _ROWS})

# The library speaks of files; a caller of the service knows models by their ids.
_CODES = MappingProxyType({cam_errors.CheckpointNotFound.code: "model-not-found"})


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request: its name, and a sentence."""

    field: str
    detail: str


@dataclass(eq=False)
class ServiceError(Exception):
    """An answer that is an error. `code` is a row of the table, `detail` a sentence to act on."""

    code: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()

    @property
    def type(self) -> ProblemType:
        """The row of the table."""
        return PROBLEMS[self.code]


def of_cam_error(error: CamError, root: str) -> ServiceError:
    """The library's error as the service's, without the data root's place on the disk."""
    code = _CODES.get(error.code, error.code)
    detail = without_root(str(error), Path(root))
    if code not in PROBLEMS:
        return ServiceError("internal-error", "an unexpected error")
    retry = {"Retry-After": "5"} if PROBLEMS[code].status == 503 else {}
    return ServiceError(code, detail, headers=retry)


def problem_object(error: ServiceError, instance: str, request_id: str) -> dict[str, object]:
    """The body of the answer."""
    kind = error.type
    body: dict[str, object] = {
        "type": f"urn:gradcam:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
        "instance": instance,
        "code": kind.code,
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = [
            {"field": problem.field, "detail": problem.detail} for problem in error.errors
        ]
    return body


def table_markdown() -> list[str]:
    """The table for the documentation."""
    lines = ["| Status | Code | Meaning | What to do |", "|---|---|---|---|"]
    lines += [f"| {row.status} | `{row.code}` | {row.title} | {row.remedy} |" for row in _ROWS]
    return lines
