"""The body of answers that are errors, as the OpenAPI document has it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.http.problems import PROBLEMS


class WrongField(BaseModel):
    """One wrong field of a request."""

    field: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(pattern="^urn:gradcam:problem:[a-z-]+$")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="a sentence to act on")
    instance: str = Field(description="the path that was asked for")
    code: str = Field(json_schema_extra={"enum": [*PROBLEMS]})
    request_id: str
    errors: list[WrongField] = Field([], description="where single fields are wrong")
