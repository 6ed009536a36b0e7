"""Whether a volume has the size of something in a patient, if its voxel sizes are in mm.

A header in metres or micrometres that says nothing of it, or mm, gives a volume that is a thousand
times too small or too large. No set shows that where all its volumes come from one source.
"""

from __future__ import annotations

from ..volume import Finding

#: From below the voxels of micro-CT to beyond the slices of any scanner.
_VOXEL_MM = (0.01, 50.0)
#: From below a patch of a few voxels to more than the bed of a scanner for the whole body.
_FIELD_MM = (2.0, 3000.0)


def implausible(spacing: tuple[float, float, float], shape: tuple[int, ...]) -> tuple[Finding, ...]:
    """Says which voxel size, or else which field of view, is that of no scan.

    Args:
        spacing: Voxel size in mm (x, y, z).
        shape: Number of voxels (x, y, z); of one alone the field of view says nothing.
    """
    fields = [
        size * count if count > 1 else None for size, count in zip(spacing, shape, strict=True)
    ]
    for what, numbers, (least, most) in (
        ("voxels of", list(spacing), _VOXEL_MM),
        ("a field of view of", fields, _FIELD_MM),
    ):
        for axis, number in zip("xyz", numbers, strict=True):
            # Rounded, as single precision is a little beside a number that is on the limit.
            if number is not None and not least <= round(number, 4) <= most:
                text = f"it has {what} {number:.3g} mm along {axis}, beyond {least:g} to {most:g}"
                return (Finding("W_SPACING", f"{text} mm; is its unit another one?"),)
    return ()
