"""Volumes of shapes, with the depth of the shape at each of its voxels."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from .intensity import foreground
from .spacing import spacing_of
from .thickness import depths


def distance_map(volume: MetaTensor) -> MetaTensor:
    """Puts the distance to the outside of a volume's foreground in place of its grey values.

    A network sees at once how deep in a shape each voxel lies, which from a mask of 0 and 1 it
    learns by layers of neighbours. Lengths are in edges of a cube as large as a voxel, so that
    they are alike for all voxel sizes.

    Args:
        volume: (1, X, Y, Z), with the affine that tells its spacing in mm.

    Returns:
        Of the same shape and affine: from centre to centre of the nearest voxel outside, which may
        lie beyond the volume; 0 outside; all 0 for a volume without a foreground, as one of a
        single value.
    """
    spacing = spacing_of(volume)
    (mask,) = foreground(volume.as_tensor()).numpy()
    lengths = depths(mask, spacing) / np.cbrt(np.prod(spacing))
    return MetaTensor(torch.from_numpy(lengths.astype(np.float32))[None], meta=volume.meta)


def inside_of_shape(volume: Tensor) -> Tensor:
    """Mask of what a distance map (1, X, Y, Z) measured: shallow places are below its mean."""
    return volume > 0
