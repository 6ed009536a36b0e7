"""Three-plane pictures of cases: made at prediction, shown in the report."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..storage import safe_name

PANEL = (160, 180)
_BACKGROUND = 12
_LETTER = 150
_LETTERS = (("R", "L"), ("R", "L"), ("A", "P"))


def picture_name(case_id: str) -> str:
    """File name of a case's picture, safe on every system."""
    return f"{safe_name(case_id)}.png"


def three_planes(
    volume: NDArray[np.floating], spacing: tuple[float, float, float] | None = None
) -> bytes:
    """Draws the central axial, coronal and sagittal slices of channel 0 side by side.

    Radiological convention: the patient's right is at the left of the axial and coronal slices;
    the sagittal slice is seen from the patient's left. Grey values run from the 0.5th to the
    99.5th percentile of the three slices. The PNG holds nothing but the image, and equal input
    gives equal bytes.

    Args:
        volume: Shape (C, X, Y, Z) in RAS+ (X to the right, Y to the front, Z to the top).
        spacing: Voxel size in mm (x, y, z); None means cubes.

    Returns:
        A grey PNG of 480x180 pixels.

    Raises:
        ValueError: The volume has not four axes, is empty, or the spacing is not positive.
    """
    if volume.ndim != 4 or 0 in volume.shape:
        raise ValueError(f"a volume needs shape (C, X, Y, Z), got {volume.shape}")
    size = spacing or (1.0, 1.0, 1.0)
    if not all(np.isfinite(length) and length > 0 for length in size):
        raise ValueError(f"spacing must be positive, got {size}")
    x, y, z = size
    canvas = Image.new("L", (PANEL[0] * 3, PANEL[1]), _BACKGROUND)
    planes = _windowed(_central_planes(volume[0]))
    for index, (plane, voxel) in enumerate(zip(planes, ((x, y), (x, z), (y, z)), strict=True)):
        panel = _fitted(plane, voxel)
        left = PANEL[0] * index + (PANEL[0] - panel.width) // 2
        canvas.paste(panel, (left, (PANEL[1] - panel.height) // 2))
    _draw_letters(canvas)
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def _central_planes(grid: NDArray[np.floating]) -> list[NDArray[np.float64]]:
    """Axial (rows front to back), coronal and sagittal (rows top to bottom) slices."""
    x, y, z = (length // 2 for length in grid.shape)
    planes = (grid[:, :, z], grid[:, y, :], grid[x, :, :])
    return [np.asarray(plane[::-1, ::-1].T, dtype=np.float64) for plane in planes]


def _windowed(planes: Sequence[NDArray[np.float64]]) -> list[NDArray[np.uint8]]:
    values = np.concatenate([plane.ravel() for plane in planes])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (0.5, 99.5)) if len(values) else (0.0, 0.0)
    width = high - low if high > low else 1.0
    scaled = [np.nan_to_num((plane - low) / width, posinf=1.0, neginf=0.0) for plane in planes]
    return [(np.clip(plane, 0.0, 1.0) * 255.0).round().astype(np.uint8) for plane in scaled]


def _fitted(plane: NDArray[np.uint8], voxel: tuple[float, float]) -> Image.Image:
    """The slice in its true proportions, as large as its panel allows."""
    width, height = plane.shape[1] * voxel[0], plane.shape[0] * voxel[1]
    scale = min(PANEL[0] / width, PANEL[1] / height)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(plane).resize(shape, Image.Resampling.BILINEAR)


def _draw_letters(canvas: Image.Image) -> None:
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default_imagefont()
    for index, (left, right) in enumerate(_LETTERS):
        middle, start = PANEL[1] // 2 - 6, PANEL[0] * index
        for position, letter in ((start + 4, left), (start + PANEL[0] - 10, right)):
            pen.rectangle((position - 2, middle, position + 7, middle + 11), fill=_BACKGROUND)
            pen.text((position, middle), letter, fill=_LETTER, font=font)
