"""The reading part of the benchmark: it measures what it says, on files that both sides accept."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.bench import cached, reading
from pipeline.bench.cached import cached_costs
from pipeline.bench.ratio import ROUNDS
from pipeline.bench.reading import reading_costs
from pipeline.bench.tables import cached_lines, reading_lines
from pipeline.data import cache_entry
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.volume import Volume
from pipeline.storage import sha256


def test_each_kind_of_file_is_read_in_turns_by_us_and_by_nibabel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {name: (file, (12, 10, 8)) for name, (file, _) in reading._FILES.items()}
    monkeypatch.setattr(reading, "_FILES", shapes)
    monkeypatch.setattr(reading, "PAIRS", 3)
    order: list[str] = []

    def ours(path: Path) -> Volume:
        order.append(path.name)
        return read_volume(path)

    monkeypatch.setattr(reading, "read_volume", ours)
    ticks: list[None] = []
    found = reading_costs(tmp_path / "files", lambda: ticks.append(None))
    assert len(ticks) == ROUNDS
    assert len(order) == len(shapes) * (1 + ROUNDS * 3)
    assert [plain.name for plain, _ in found] == [same.name for _, same in found] == [*shapes]
    assert all(0 < item.low <= item.median <= item.high for pair in found for item in pair)
    rows = [line for line in reading_lines(found) if line.startswith("| .nii")]
    assert len(rows) == 3
    assert {row.count("|") for row in rows} == {6}


def test_a_cached_volume_has_its_digest_taken_at_first_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "_SIZES", ((4, 5, 6), (7, 8, 9)))
    monkeypatch.setattr(cached, "FILES", 3)
    ticks: list[None] = []
    taken: list[int] = []

    def counted(content: bytes | memoryview) -> str:
        taken.append(len(content))
        return sha256(content)

    monkeypatch.setattr(cache_entry, "sha256", counted)
    found = cached_costs(tmp_path / "files", lambda: ticks.append(None))
    assert len(ticks) == ROUNDS
    # Of every file once when it is written, and in each round once where it is read and once where
    # it is mapped; the first round is not told.
    assert len(taken) == 2 * 3 * (1 + 2 * (1 + ROUNDS))
    assert [item.first.name for item in found] == ["4x5x6", "7x8x9"]
    ratios = [each for item in found for each in (item.first, item.read, item.mapped)]
    assert all(0 < each.low <= each.median <= each.high for each in ratios)
    assert {row.count("|") for row in cached_lines(found)[4:]} == {8}


@pytest.mark.parametrize(
    ("file", "kind"), [("int16.nii.gz", np.int16), ("float32.nii", np.float32)]
)
def test_the_files_hold_what_their_names_say_and_nothing_doubtful(
    file: str, kind: type[np.generic], tmp_path: Path
) -> None:
    path = reading.write_image(tmp_path / "new" / file, (20, 18, 16))
    image = nib.Nifti1Image.from_filename(path)
    assert image.get_data_dtype() == kind
    assert nib.orientations.aff2axcodes(image.affine) == ("L", "A", "S")
    volume = read_volume(path)
    assert volume.findings == ()
    same = np.ascontiguousarray(nib.as_closest_canonical(image).get_fdata(dtype=np.float32))
    assert np.array_equal(volume.voxels, same)


def test_what_stands_beside_us_does_look_at_the_values(tmp_path: Path) -> None:
    voxels = np.ones((4, 4, 4), dtype=np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "flat.nii")
    with pytest.raises(ValueError, match="not a good one"):
        reading._same(tmp_path / "flat.nii")
