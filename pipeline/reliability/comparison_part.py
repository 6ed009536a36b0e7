"""The part of the page that shows several readers side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .child import Death
from .peers import Compared, Verdict
from .prose import paragraph
from .readers import PEERS, Peer
from .table import ROWS

_FAULTY: dict[Verdict | Death, str] = {
    "silent": "silent",
    "warned": "warned",
    "named": "named",
    "unnamed": "unnamed",
    "hang": "hung",
    "died": "died",
    "traceback": "not measured",
}
_SOUND: dict[Verdict | Death, str] = {
    "right": "right",
    "altered": "altered",
    "named": "refused, named",
    "unnamed": "refused, unnamed",
    "hang": "hung",
    "died": "died",
}


def side_by_side(items: Sequence[Compared]) -> list[str]:
    """Lines with a table of totals, one by row, and one of sound files."""
    faulty = [item for item in items if not item.sound]
    sound = [item for item in items if item.sound]
    sound_rows = ", ".join(map(str, sorted({item.row for item in sound})))
    return [
        "## Side by side",
        "",
        *paragraph(
            f"{len(faulty)} of these files are bad by themselves, without a table or a set around",
            "them. Each is read by a process of its own with 4 GiB of memory and 5 s of time: by",
            "`nibabel.load` with its voxels, `SimpleITK.ReadImage` (of a folder, its first",
            "series), MONAI's `LoadImage`, and our `read_volume` with its default rules.",
        ),
        "",
        *paragraph(
            "*Silent*: taken without a word. *Warned*: taken, with a warning or any line on the",
            "standard outputs. *Named*: refused, with the file's name in the error. *Unnamed*:",
            "refused without it. nibabel reads no DICOM folders, and refuses them all.",
        ),
        "",
        *_totals(faulty, _FAULTY),
        "",
        f"| row | what is wrong | files | {' | '.join(PEERS)} |",
        "|---|---|---|" + "---|" * len(PEERS),
        *(
            _row(number, [item for item in faulty if item.row == number])
            for number in sorted({item.row for item in faulty})
        ),
        "",
        *paragraph(
            f"{len(sound)} more files are sound but unusual (rows {sound_rows or 'none'}): big",
            "endian, turned, oddly named. Turned to RAS+ by each library's own means, are the",
            "voxels those that were stored?",
        ),
        "",
        *_totals(sound, _SOUND),
    ]


def _totals(items: Sequence[Compared], words: dict[Verdict | Death, str]) -> list[str]:
    return [
        f"| of {len(items)} files | {' | '.join(words.values())} |",
        "|---|" + "---|" * len(words),
        *(
            f"| {peer} | {' | '.join(str(_count(items, peer, word)) for word in words)} |"
            for peer in PEERS
        ),
    ]


def _count(items: Sequence[Compared], peer: Peer, word: Verdict | Death) -> int:
    return sum(item.verdicts[peer] == word for item in items)


def _row(number: int, items: Sequence[Compared]) -> str:
    cells = []
    for peer in PEERS:
        counts = Counter(item.verdicts[peer] for item in items)
        said = [
            f"{word}: {counts[verdict]}" if len(counts) > 1 else word
            for verdict, word in _FAULTY.items()
            if counts[verdict]
        ]
        cells.append(", ".join(said))
    return f"| {number} | {ROWS[number].what} | {len(items)} | {' | '.join(cells)} |"
