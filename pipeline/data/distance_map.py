"""Volumes of shapes, with the depth of the shape at each of its voxels."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from .spacing import spacing_of
from .thickness import depths
from .volume import Reason, VolumeError

#: Raised when the same shape begins to give other distances.
DISTANCE_MAP_VERSION = 2


def distance_map(volume: MetaTensor) -> MetaTensor:
    """Puts the distance to the outside of a shape in place of a volume's two values.

    A network sees at once how deep in a shape each voxel lies, which from a mask of 0 and 1 it
    learns by layers of neighbours. Measured on the voxels of the file, before any resampling: of a
    blurred mask nobody knows where it ends.

    Args:
        volume: (1, X, Y, Z), with the affine that tells its spacing in mm.

    Returns:
        Of the same shape and affine, in mm: 0 outside, which is the lesser value; inside from
        centre to centre of the nearest voxel outside, which may lie beyond the volume.

    Raises:
        VolumeError: E_NOT_SHAPE: the volume has more than two values.
    """
    voxels = volume.as_tensor()[0].numpy()
    low, high = voxels.min(), voxels.max()
    mask = voxels == high
    if not (mask | (voxels == low)).all():
        between = voxels[~mask & (voxels != low)][0]
        why = f"it has {low:g}, {high:g} and {between:g} at least"
        raise VolumeError(Reason.E_NOT_SHAPE, Path(str(volume.meta["filename_or_obj"])), why)
    lengths = depths(mask, spacing_of(volume)).astype(np.float32)
    return MetaTensor(torch.from_numpy(lengths)[None], meta=volume.meta)


def in_voxel_edges(volume: MetaTensor) -> Tensor:
    """A distance map as the network reads it: in edges of a cube as large as a voxel, not in mm.

    So a shape that is scaled together with its voxels keeps its depths.

    Args:
        volume: (1, X, Y, Z) in mm, when all else is done with it.

    Raises:
        VolumeError: E_SHAPE_LOST: it is 0 throughout, for the shape fell between the voxels of a
            coarser grid, or was cut away.
    """
    if not bool(inside_of_shape(volume.as_tensor()).any()):
        file = Path(str(volume.meta["filename_or_obj"]))
        raise VolumeError(Reason.E_SHAPE_LOST, file, "no voxel that the network reads is inside")
    return cast("Tensor", volume / float(np.cbrt(np.prod(spacing_of(volume)))))


def inside_of_shape(volume: Tensor) -> Tensor:
    """Mask of the shape in a distance map (1, X, Y, Z): shallow places are below its mean."""
    return volume > 0
