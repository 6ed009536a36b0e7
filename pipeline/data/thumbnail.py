"""A volume's signature: few numbers by which it is known again, whatever was done to its file.

A volume is shrunk to 32 x 32 x 32 boxes, and the lowest frequencies of its cosine transform are
kept, as perceptual hashes of pictures do (Zauner 2010, "Implementation and Benchmarking of
Perceptual Image Hash Functions"). Noise, other units of grey and another voxel size change them
little; a mirrored volume has the same numbers, some with the other sign.
"""

from __future__ import annotations

import base64
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

#: Frequencies along each axis: the low ones find who might be a copy, all of them tell whether.
FREQUENCIES = 16
#: Part of the key of what is kept on disk; raised when the numbers change.
SIGNATURE_VERSION = 2

_BOXES = 32
#: Relative to the volume's own spread: what lies below is rounding, not a picture.
_NOTHING = 1e-6


def signature_of(voxels: NDArray[np.float32]) -> NDArray[np.int8]:
    """The signature of a volume.

    Each cosine coefficient is multiplied by the sum of its three frequencies, for the lowest ones
    are large in every volume and say only that something lies in the middle. The first number, the
    volume's mean, is always 0, so that units of grey play no part.

    Args:
        voxels: Grey values (X, Y, Z), finite.

    Returns:
        Shape (4096,): numbers -127..127 at frequencies (x, y, z), z running fastest; all 0 for a
        volume whose boxes look alike.
    """
    boxes = _shrunk(voxels)
    spread = float(np.abs(voxels).max())
    weights = np.indices((FREQUENCIES,) * 3).sum(axis=0)
    low = cast("NDArray[np.float64]", dctn(boxes, norm="ortho"))[(slice(FREQUENCIES),) * 3]
    found = low * weights
    largest = float(np.abs(found).max())
    if largest <= _NOTHING * spread:
        return np.zeros(found.size, dtype=np.int8)
    whole = np.rint(127.0 * found / largest).astype(np.int8)
    return cast("NDArray[np.int8]", whole.ravel())


def signature_text(signature: NDArray[np.int8]) -> str:
    """A signature as text, to be kept in a file."""
    return base64.b64encode(signature.tobytes()).decode()


def signature_from(text: str) -> NDArray[np.int8]:
    """What `signature_text` wrote.

    Raises:
        ValueError: It is no signature.
    """
    found = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.int8)
    if found.shape != (FREQUENCIES**3,):
        raise ValueError(f"a signature has {FREQUENCIES**3} numbers, not {found.size}")
    return found


def _shrunk(voxels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean grey values of 32 equal parts along each axis; a part may be less than a voxel."""
    found = np.asarray(voxels, dtype=np.float32)
    # The longest axis first: the rest is then done on a fraction of the voxels.
    for axis in sorted(range(3), key=lambda axis: -voxels.shape[axis]):
        parts = _parts(voxels.shape[axis]).astype(np.float32)
        found = np.moveaxis(np.tensordot(parts, found, axes=(1, axis)), 0, axis)
    return found.astype(np.float64)


def _parts(length: int) -> NDArray[np.float64]:
    """How much of each voxel each box holds, (32, length), rows that sum to 1."""
    edges = np.linspace(0.0, length, _BOXES + 1)
    starts = np.arange(length)
    ends = np.minimum(edges[1:, None], starts + 1.0)
    held = np.clip(ends - np.maximum(edges[:-1, None], starts), 0.0, None)
    return cast("NDArray[np.float64]", held / held.sum(axis=1, keepdims=True))
