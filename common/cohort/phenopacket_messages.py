"""The parts of GA4GH phenopackets, version 2, that are read: an allowlist.

Fields keep the names of the standard. Both spellings of protobuf's JSON are understood, camelCase and
snake_case; whatever is not named here, such as alternate ids and dates of birth, is dropped while parsing.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Part(BaseModel):
    """Base of the messages."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Term(Part):
    id: str = ""
    label: str = ""


class Age(Part):
    iso8601duration: str = ""


class AgeRange(Part):
    start: Age | None = None


class TimeElement(Part):
    age: Age | None = None
    age_range: AgeRange | None = None


class Subject(Part):
    id: str = ""
    sex: str | int = ""
    time_at_last_encounter: TimeElement | None = None


class Feature(Part):
    type: Term = Term()
    excluded: bool = False


class Diagnosis(Part):
    disease: Term | None = None


class Interpretation(Part):
    diagnosis: Diagnosis | None = None


class Disease(Part):
    term: Term = Term()
    excluded: bool = False


class File(Part):
    uri: str = ""
    file_attributes: dict[str, Any] = Field(default_factory=dict)


class Reference(Part):
    id: str = ""


class MetaData(Part):
    external_references: list[Reference] = Field(default_factory=list)


class Packet(Part):
    id: str = ""
    subject: Subject
    phenotypic_features: list[Feature] = Field(default_factory=list)
    interpretations: list[Interpretation] = Field(default_factory=list)
    diseases: list[Disease] = Field(default_factory=list)
    files: list[File] = Field(default_factory=list)
    meta_data: MetaData = MetaData()
