"""The foreground of a volume in plain numbers: its widths, its form, and its grey values.

Simple radiomics as the Image Biomarker Standardisation Initiative defines them (Zwanenburg et al.
2020, Radiology 295:328), and the local thickness. The foreground is what `transforms.foreground`
takes it to be, voxels above the volume's mean: of a binary volume, the shape itself.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
from typing import Any, cast

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from .thickness import Lengths, Mask, Spacing, box_of, widths

sitk: Any = SimpleITK  # has no types

#: Raised when the same volume begins to give other numbers.
SHAPE_VERSION = 1
#: Ends of the bins of the thickness, in edges of a cube as large as a voxel, for any spacing; the
#: last bin is open. Lengths on a grid of cubes are roots of whole numbers, or half an edge less,
#: and so never at an odd quarter: rounding puts none of them into another bin.
THICKNESS_BINS = (*np.arange(1.75, 8, 0.5).tolist(), *np.arange(8.75, 16), 19.75, 23.75, 31.75)
#: The same of the distance to the outside.
DEPTH_BINS = (*np.arange(1.25, 4, 0.5).tolist(), *np.arange(4.75, 8), 9.75, 11.75, 15.75)
_PERCENTILES = (5, 25, 50, 75, 95, 100)
_GREY_PERCENTILES = (0, 10, 25, 50, 75, 90, 100)
_GREY_BINS = 32
#: Digits of the grey values that count: the mean after z-scoring is 0, not its rounding.
_DIGITS = 5


def _spread_names(what: str, bins: int) -> tuple[str, ...]:
    shares = (f"{what}_share_{number}" for number in range(bins))
    quantiles = (f"{what}_p{percent}" for percent in _PERCENTILES)
    return (*shares, f"{what}_mean", f"{what}_deviation", *quantiles)


_FORM = (
    *("form_share", "form_diameter", "form_surface", "form_sphericity"),
    *("form_major_axis", "form_minor_axis", "form_least_axis", "form_elongation", "form_flatness"),
    *("form_box_x", "form_box_y", "form_box_z", "form_box_share"),
    *("form_parts", "form_largest_part", "form_euler"),
)
_GREY = (
    *("grey_mean", "grey_deviation", "grey_skewness", "grey_kurtosis", "grey_entropy"),
    *(f"grey_p{percent}" for percent in _GREY_PERCENTILES),
)
#: What `shape_values` gives, in its order.
SHAPE_NAMES = (
    *_spread_names("thickness", len(THICKNESS_BINS) + 1),
    *_spread_names("depth", len(DEPTH_BINS) + 1),
    *_FORM,
    *_GREY,
)


def shape_key() -> str:
    """Everything but volume and spacing that decides the numbers."""
    libraries = ("numpy", "scipy", "SimpleITK")
    versions = {name: importlib.metadata.version(name) for name in libraries}
    return json.dumps([SHAPE_VERSION, versions], sort_keys=True)


def shape_values(volume: NDArray[np.float32], spacing: Spacing) -> tuple[float, ...]:
    """Describes the foreground of a volume.

    Lengths are in mm, so that volume and surface stand as the diameter of a ball of that volume
    and as the square root of the area; numbers of parts and holes are on a logarithmic scale.
    Bins hold shares of the foreground. Without a foreground, as in a volume of one value, all is
    0; so are the grey values of a foreground of one value, as in a binary volume.

    Args:
        volume: Shape (X, Y, Z).
        spacing: Voxel size in mm along x, y, z.

    Returns:
        Finite values, one for each of `SHAPE_NAMES`.

    Raises:
        ValueError: The volume has no three axes, no voxels, or values that are not finite; or a
            spacing is not above 0.
    """
    values = np.asarray(volume, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the volume has values that are not finite")
    mask = values > values.mean() if values.size else np.zeros(values.shape, dtype=np.bool_)
    found = widths(mask, spacing)
    if not mask.any():
        return (0.0,) * len(SHAPE_NAMES)
    edge = float(np.cbrt(np.prod(spacing)))
    return (
        *_spread(found.thickness[mask], edge, THICKNESS_BINS),
        *_spread(found.depth[mask], edge, DEPTH_BINS),
        *_form(mask, spacing),
        *_greys(values[mask]),
    )


def _spread(lengths: Lengths, edge: float, bins: tuple[float, ...]) -> list[float]:
    """Shares of the bins, then mean, deviation and percentiles in mm."""
    counts = np.bincount(np.digitize(lengths / edge, bins), minlength=len(bins) + 1)
    quantiles = np.percentile(lengths, _PERCENTILES)
    moments = [float(lengths.mean()), float(lengths.std())]
    return [*(counts / lengths.size).tolist(), *moments, *quantiles.tolist()]


def _form(mask: Mask, spacing: Spacing) -> list[float]:
    """Size, surface, main axes, box and parts; the surface by Crofton's formula (SimpleITK)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T.astype(np.uint8)))
    image.SetSpacing([float(size) for size in spacing])
    found = sitk.LabelShapeStatisticsImageFilter()
    found.SetNumberOfThreads(1)
    found.Execute(image)
    content, surface = found.GetPhysicalSize(1), found.GetPerimeter(1)
    least, minor, major = np.sqrt(np.maximum(found.GetPrincipalMoments(1), 0.0)).tolist()
    ratios = (minor / major, least / major) if major > 0 else (0.0, 0.0)
    box = [axis.stop - axis.start for axis in box_of(mask)]
    return [
        float(mask.mean()),
        float(np.cbrt(6.0 * content / np.pi)),
        float(np.sqrt(surface)),
        float(np.cbrt(36.0 * np.pi * content**2) / surface),
        *(4.0 * major, 4.0 * minor, 4.0 * least, *ratios),
        *(side * size for side, size in zip(box, spacing, strict=True)),
        float(mask.sum() / np.prod(box)),
        *_parts(mask),
    ]


def _parts(mask: Mask) -> tuple[float, float, float]:
    """How many parts, the share of the largest, and the Euler number; corners connect."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    largest = np.bincount(labels.ravel())[1:].max() / mask.sum()
    holes = _euler_number(mask)
    return float(np.log1p(count)), float(largest), float(np.copysign(np.log1p(abs(holes)), holes))


def _euler_number(mask: Mask) -> int:
    """Corners less edges plus faces less voxels of a shape of closed voxels.

    Its parts less its tunnels plus its cavities (Kong and Rosenfeld 1989, Computer Vision, Graphics
    and Image Processing 48:357).
    """
    number = 0
    padded = np.pad(mask, 1)
    for axes in itertools.product((False, True), repeat=3):
        # Along an axis, what lies between two voxels is there where one of them is.
        cells = padded
        for axis, between in enumerate(axes):
            if between:
                first = [slice(None)] * 3
                second = list(first)
                first[axis], second[axis] = slice(None, -1), slice(1, None)
                cells = cells[tuple(first)] | cells[tuple(second)]
        number += (-1) ** (3 - sum(axes)) * int(cells.sum())
    return number


def _greys(values: Lengths) -> list[float]:
    """First-order statistics; the entropy in bits over bins between the extremes."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return [0.0] * len(_GREY)
    deviation = float(values.std())
    centred = (values - values.mean()) / deviation
    shares = np.histogram(values, _GREY_BINS, (low, high))[0] / values.size
    entropy = -float((shares[shares > 0] * np.log2(shares[shares > 0])).sum())
    scale = _DIGITS - int(np.floor(np.log10(max(abs(low), abs(high)))))
    sizes = np.array([values.mean(), deviation, *np.percentile(values, _GREY_PERCENTILES)])
    mean, deviation, *quantiles = cast("list[float]", np.round(sizes, scale).tolist())
    moments = (float((centred**3).mean()), float((centred**4).mean()) - 3.0)
    return [mean, deviation, *moments, entropy, *quantiles]
