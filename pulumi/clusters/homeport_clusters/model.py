"""The base of cluster.yaml's models: frozen, closed, with camelCase names as Kubernetes and Homeport have them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

Json = dict[str, Any]

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A DNS label of at most 40 characters, so that what is named after it stays within 63."""


class Model(BaseModel):
    """A block of cluster.yaml. Unknown fields are errors; the text under a field is its description."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=to_camel,
        use_attribute_docstrings=True,
    )


def refused(message: str) -> PydanticCustomError:
    """What a validator raises: the message says what to write instead."""
    return PydanticCustomError("rule", "{message}", {"message": message})
