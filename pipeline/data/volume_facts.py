"""What an audit knows of a volume: what surrounds its voxels, and its signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter

from .cases import Case
from .fingerprint import read_expected
from .surroundings import Surroundings, surroundings_of
from .thumbnail import FREQUENCIES, SIGNATURE_VERSION, signature_of, signature_text

#: Of what is kept on disk.
FACTS_NAME = f"volume-facts-{SIGNATURE_VERSION}.json"

_SIGNATURE_LETTERS = 4 * -(-(FREQUENCIES**3) // 3)
_Signature = Annotated[str, Field(min_length=_SIGNATURE_LETTERS, max_length=_SIGNATURE_LETTERS)]


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """What one reading of a volume tells.

    Attributes:
        surroundings: What it is apart from what it shows.
        signature: As `signature_text` writes it.
    """

    surroundings: Surroundings
    signature: _Signature


FACTS: TypeAdapter[dict[str, VolumeFacts]] = TypeAdapter(dict[str, VolumeFacts])


def volume_facts(case: Case, content: str) -> VolumeFacts:
    """Reads what there is to know of a case's volume.

    Args:
        case: The case.
        content: The hash of its voxels and geometry that is expected.

    Raises:
        VolumeError: The volume is refused.
        DataError: It is another one than was expected.
    """
    volume = read_expected(case, content)
    return VolumeFacts(surroundings_of(volume), signature_text(signature_of(volume.voxels)))
