"""What an audit leaves behind: exit codes, words, and nothing that was not asked for."""

from __future__ import annotations

import getpass
import gzip
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from audit_makers import Scans, blobs, clean_scans
from typer.testing import CliRunner, Result

from pipeline.build import build_store
from pipeline.cli import app
from pipeline.data import fingerprint
from pipeline.data.manifest import read_manifest
from pipeline.storage import read_table

HOSTILE = ("=HYPERLINK(1)", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>')


pytestmark = pytest.mark.usefixtures("quick_probe")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Scans:
    """What all sets have in common, read once."""
    return clean_scans(tmp_path_factory.mktemp("shared") / "data", 8)


@pytest.fixture
def scans(shared: Scans, tmp_path: Path) -> Scans:
    return shared.twin(f"{tmp_path.name}-", tmp_path)


class Elements(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources |= {value or "" for name, value in attrs if name == "src"}

    def handle_data(self, data: str) -> None:
        """Notes text."""
        self.text.append(data)


def audited(scans: Scans, *more: str) -> Result:
    words = ["audit", "-c", "base", *scans.overrides(), *more, "--out", str(scans.out / "audit")]
    return CliRunner().invoke(app, words)


def written(scans: Scans) -> dict[str, str]:
    """The text of every file of the audit; the lock names a process alone."""
    files = [path for path in (scans.out / "audit").rglob("*") if path.is_file()]
    return {path.name: path.read_text() for path in files if path.name != ".lock"}


def test_the_exit_code_is_0_where_nothing_must_be_decided(scans: Scans) -> None:
    result = audited(scans)
    assert result.exit_code == 0, result.output
    assert "Nothing wrong was found. All 16 volumes can be read." in result.output
    assert "page: " in result.output
    assert set(written(scans)) == {
        "index.html",
        "audit.json",
        "quarantine.csv",
        "predictions.csv",
        "competitor.json",
    }
    assert (scans.out / "audit" / "metadata" / "header" / "competitor.json").is_file()


@pytest.mark.parametrize("seed", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_the_shipped_phantoms_pass(seed: int, tmp_path: Path) -> None:
    small = ["data.phantoms.patients=24", f"data.phantoms.seed={seed}", "report.bootstrap=100"]
    words = ["audit", "-c", "quickstart", *small, "system.workers=0", "--out", str(tmp_path / "a")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "a" / "audit.json").read_text())["pairs"] == []


def test_the_exit_code_is_3_and_the_words_say_what_to_do(scans: Scans) -> None:
    scans.add("new", "a", scans.voxels(0))
    scans.replace(3, lambda content: content[:-200])
    result = audited(scans)
    assert result.exit_code == 3, result.output
    words = " ".join(result.output.split())
    assert "1. E_REFUSED: 1 volume cannot be used: scan03 what to do: mend or remove" in words
    assert "2. E_DUP_CONTENT: 1 pair has the same voxels and other patients: scan00, sc" in words
    assert "Traceback" not in result.output


def test_mistakes_in_the_manifest_are_on_the_page_and_the_sound_lines_are_audited(
    scans: Scans,
) -> None:
    scans.rows[0]["label"] = "A"
    scans.rows[1]["image"] = "secretfolder/missing.nii.gz"
    result = audited(scans)
    assert result.exit_code == 3, result.output
    record = json.loads(written(scans)["audit.json"])
    assert [item["line"] for item in record["manifest"]] == [2, 3]
    assert record["manifest"][0]["text"].startswith("E_LABEL_TYPO")
    assert "E_MISSING: …/missing.nii.gz does not exist" in record["manifest"][1]["text"]
    assert (record["cases"], len(record["volumes"])) == (14, 14)
    assert [item["code"] for item in record["decisions"]] == ["E_MANIFEST"]
    words = " ".join(result.output.split())
    assert "2 lines of the manifest cannot be used, and are left out here; line 2: E_LABEL" in words
    page = written(scans)["index.html"]
    assert "did you mean a?" in page
    assert not any("secretfolder" in text for text in written(scans).values())


def test_a_manifest_of_which_nothing_is_left_is_still_a_page(scans: Scans) -> None:
    for row in scans.rows:
        row["image"] = f"missing{row['image']}"
    result = audited(scans)
    assert result.exit_code == 3
    assert "16 lines of the manifest cannot be used" in " ".join(result.output.split())
    assert written(scans)["index.html"].count("E_MISSING") >= 16


def test_stopped_by_the_user_it_says_so_and_goes_on_with_the_same_command(
    scans: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "read_volume", stop)
        scans.add("p00", "a", blobs(900))
        result = audited(scans)
    assert result.exit_code == 130
    assert "interrupted" in result.output
    assert audited(scans).exit_code == 0


def test_help_comes_with_an_example_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, pipeline.data_verbs\n"
        "heavy = {'torch', 'monai', 'sklearn', 'pandas', 'nibabel'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    result = CliRunner().invoke(app, ["audit", "-h"])
    assert "Example: volclass audit --config" in " ".join(result.output.split())


def test_no_path_and_no_name_of_this_machine_is_in_any_output(scans: Scans) -> None:
    folder = scans.folder / "secretfolder"
    folder.mkdir(exist_ok=True)
    scans.add("new", "a", scans.voxels(0), name="secretfolder/copy.nii.gz")
    scans.add("p00", "a", np.full((9, 9, 9), 1.0, dtype=np.float32), name="secretfolder/c.nii.gz")
    scans.replace(3, lambda content: content[:-200])
    scans.replace(4, lambda content: content + b"more")
    assert audited(scans).exit_code == 3
    for name, text in written(scans).items():
        for private in (str(scans.folder), str(scans.out), "secretfolder", str(Path.home()) + "/"):
            assert private not in text, (name, private)
        assert f"/{getpass.getuser()}/" not in text, name


def test_free_text_of_headers_is_in_no_output(scans: Scans) -> None:
    def spoken(content: bytes) -> bytes:
        raw = bytearray(gzip.decompress(content))
        raw[148 : 148 + 12] = b"JOHN_DOE_DES"
        return gzip.compress(bytes(raw))

    scans.replace(0, spoken)
    assert audited(scans).exit_code == 0
    assert [name for name, text in written(scans).items() if "JOHN_DOE" in text] == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str, scans: Scans) -> None:
    for row in scans.rows:
        row["label"] = text if row["label"] == "a" else row["label"]
        row["site"] = text
    scans.add(text, text, scans.voxels(0), site=text)
    scans.rows[-1]["case_id"] = text
    scans.replace(3, lambda content: content[:-200])
    scans.rows[3]["case_id"] = f"{text}2"
    result = audited(scans)
    assert result.exit_code == 3, result.output
    found = written(scans)
    page = found["index.html"]
    seen = Elements()
    seen.feed(page)
    assert "script" not in seen.tags
    assert [name for name in seen.attributes if name.startswith("on")] == []
    assert {source[:22] for source in seen.sources} == {"data:image/png;base64,"}
    assert text in "".join(seen.text)
    record = json.loads(found["audit.json"])
    assert text in record["classes"]
    assert record["refused"][0]["case_id"] == f"{text}2"
    first = (scans.out / "audit" / "quarantine.csv").read_text().splitlines()[1]
    assert not first.lstrip('"').startswith("=")
    rows = read_table(scans.out / "audit" / "quarantine.csv")
    assert rows[0]["case_id"] == f"{text}2"


def test_the_page_is_one_file_that_needs_no_network_and_runs_no_script(scans: Scans) -> None:
    scans.add("new", "a", scans.voxels(0))
    assert audited(scans).exit_code == 3
    page = written(scans)["index.html"]
    assert "<script" not in page
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", page) == []
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/png;base64,") == 2


def test_the_answers_of_the_probe_are_a_competitor_of_other_runs(scans: Scans) -> None:
    assert audited(scans).exit_code == 0
    card = json.loads(written(scans)["competitor.json"])
    assert card["kind"] == "baseline"
    assert "metadata" in card["notes"]


def test_training_finds_its_volumes_in_the_cache(scans: Scans, tmp_path: Path) -> None:
    scans.cache = tmp_path / "cache"
    config = scans.config()
    cases = read_manifest(config.data).cases
    assert not any(build_store(config, scans.cache).has(case) for case in cases)
    assert audited(scans).exit_code == 0
    assert all(build_store(config, scans.cache).has(case) for case in cases)
