"""The parts of the page about flipped bits, changed headers, bombs and orientations."""

from __future__ import annotations

from collections.abc import Sequence

from .bombs import Bomb
from .measurement import Measured
from .orientations import Orientation
from .prose import paragraph, points


def changed_bits(seen: Measured) -> list[str]:
    """Lines about flipped bits and changed bytes of headers."""
    flips, header, changed = seen.flips, seen.header_flips, seen.mutations
    return [
        "## Flipped bits and changed headers",
        "",
        *paragraph(
            f"{flips.tried:,} single bits of a `.nii.gz` of 64 x 64 x 48 voxels, drawn from all",
            "bits of the file, headers and trailer included:",
        ),
        "",
        "| reader | refused | taken, same voxels | taken, other voxels | crashed |",
        "|---|---|---|---|---|",
        *(
            f"| {peer} | {item.detected} | {item.harmless} | {item.silent} | {item.crashed} |"
            for peer, item in [*seen.peer_flips.items(), ("volclass", flips)]
        ),
        "",
        *paragraph(
            f"Each of the {header.tried} bits of its gzip header by itself: {header.detected}",
            f"refused, {header.harmless} taken with the very same voxels and geometry,",
            f"{header.silent} taken with others, {header.crashed} crashed. The header holds a",
            "time, the name of a system and a hint about the text, which mean nothing for the",
            "volume and which no checksum of gzip covers (RFC 1952): flipping these bits is",
            "harmless, and is not detected.",
        ),
        "",
        *paragraph(
            f"{changed.tried:,} changes of single bytes in the 348 of a NIfTI-1 header, which has",
            "no checksum at all:",
        ),
        "",
        *points(
            f"{changed.refused:,} refused, {changed.flagged:,} taken with a finding;",
            f"{changed.unchanged:,} without meaning: taken as the very same voxels and geometry, "
            "as nibabel reads them, too;",
            f"{changed.as_reference:,} taken as what the header states now, with the voxels and "
            "the geometry that nibabel reads: a wrong header that is plausible cannot be told from "
            "a right one;",
            f"{changed.silent} taken otherwise in silence, {changed.crashed} crashed, "
            f"{changed.hung} hung.",
        ),
        "",
        *paragraph(
            f"The slowest took {changed.slowest:.2f} s, with writing it. Memory beyond what the",
            f"process had before: {changed.peak_bytes / 2**20:.0f} MiB, where 16 MiB were allowed",
            "for a volume, and 256 MiB beside it.",
        ),
    ]


def bomb_table(bombs: Sequence[Bomb]) -> list[str]:
    """Lines about files that claim, or inflate to, more than may be taken."""
    return [
        "## Bombs",
        "",
        "| file | refused as | seconds | memory, MB | holds |",
        "|---|---|---|---|---|",
        *(
            f"| {bomb.name} | `{bomb.end}` | {bomb.seconds:.2f} | {bomb.peak_bytes / 1e6:.1f} "
            f"| {'yes' if bomb.passed else '**no**'} |"
            for bomb in bombs
        ),
    ]


def orientation_table(cases: Sequence[Orientation]) -> list[str]:
    """Lines about the orientations that were worked out by hand."""
    return [
        "## Orientations",
        "",
        *paragraph(
            "Volumes of 2 x 3 x 4 voxels, each with a value of its own. The value that is farthest",
            "to the left, back and bottom, its place and the voxel size were worked out by hand.",
        ),
        "",
        "| stored as | value in that corner | its place, mm (RAS) | voxel size, mm | read so |",
        "|---|---|---|---|---|",
        *(
            f"| {case.name} | {case.corner} | {_numbers(case.place)} | {_numbers(case.spacing)} "
            f"| {'yes' if case.passed else '**no**'} |"
            for case in cases
        ),
    ]


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
