"""What the verbs of the command line share: reading settings, refusing, and showing results.

Heavy libraries are imported inside the functions, so that help and refusals come at once.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from .errors import VolclassError
from .printable import printable_lines

if TYPE_CHECKING:
    from .config import Config


def feature_source(
    config: str | None, words: list[str], model: str | None
) -> tuple[Path | Config, list[str]]:
    """The run, or the configuration, that features come from; and the inputs."""
    from .config_file import load_config
    from .errors import ConfigError

    if config is None:
        if not words:
            raise ConfigError(
                "nothing to extract features from", remedy="name a run folder, or a --config"
            )
        return Path(words[0]), words[1:]
    if model is not None:
        raise ConfigError(
            "--model names a network of a run; a --config has one network only",
            remedy="leave out one of them",
        )
    overrides = [word for word in words if "=" in word and not _names_volumes(word)]
    return load_config(config, overrides, note), [word for word in words if word not in overrides]


def _names_volumes(word: str) -> bool:
    """Whether a word with an equals sign is a path, or one series of a DICOM folder."""
    from .data.formats.dicom_folder import split_series

    return Path(word).exists() or split_series(Path(word))[1] is not None


def checked(config: str, overrides: list[str] | None, out: Path, *, resume: bool) -> Config:
    """Everything that can be refused before a heavy library is imported."""
    from .config_file import load_config
    from .errors import ConfigError
    from .storage import check_writable

    settings = load_config(config, overrides or (), note)
    if resume and not (out / "config.yaml").is_file():
        raise ConfigError(
            "there is no run to resume",
            where=str(out),
            why="the folder holds no config.yaml",
            remedy="leave out --resume, or check --out",
        )
    check_writable(out)
    return settings


def say(text: str, *, err: bool = False) -> None:
    """Shows lines of text; names in them may hold commands of a terminal, which become `?`.

    Args:
        text: One line or several.
        err: Whether it goes to standard error.
    """
    typer.echo(printable_lines(text), err=err)


def note(text: str) -> None:
    """Shows a remark beside the result."""
    say(text, err=True)


def nothing(_: str) -> None:
    """Tells nobody: the same is told again later."""


def headline(folder: Path) -> None:
    """Prints the result in one line, and where the page is."""
    from .storage import read_json

    summary = read_json(folder / "metrics.json")
    assert isinstance(summary, dict)
    metrics = summary["metrics"]
    assert isinstance(metrics, dict)
    for name in ("auroc", "accuracy"):
        metric = metrics[name]
        assert isinstance(metric, dict)
        if metric["estimate"] is None:
            typer.echo(f"{name}: not defined")
            continue
        low, high = metric["low"], metric["high"]
        interval = "" if low is None else f" (95 % interval {low:.3f} to {high:.3f})"
        typer.echo(f"{name}: {metric['estimate']:.3f}{interval}")
    typer.echo(f"{summary['cases']} cases of {summary['patients']} patients")
    say(f"report: {folder / 'index.html'}")


_SHOWN = 80  # characters of a path
#: A folder with one of these holds results that a report would overwrite or be mistaken for.
_RESULTS = ("config.yaml", "competitor.json", "ladder.json")


def run_report(run: Path, out: Path | None) -> None:
    """Writes the report of one run, and prints its figures."""
    from .errors import ConfigError

    if out is not None:
        _check_free(out)
    found = [name for name in _RESULTS if (run / name).is_file()]
    if found and "config.yaml" not in found:
        page = run / "index.html"
        what = "a ladder" if "ladder.json" in found else "a competitor"
        raise ConfigError(
            f"{run.name} holds {what}, not a run",
            where=str(run),
            why=f"it has {found[-1]} and no config.yaml",
            remedy="name another folder beside it to compare them, with --out"
            + (f"; its own page is {page}" if page.is_file() else ""),
        )
    from .reports.page import write_report

    write_report(run, out)
    headline(out or run / "report")


def _check_free(out: Path) -> None:
    """Refuses to write a page among the results of something else."""
    from .errors import ConfigError

    held = [name for name in _RESULTS if (out / name).is_file()]
    if held:
        raise ConfigError(
            "a report cannot be written among other results",
            where=str(out),
            why=f"the folder holds {held[0]}",
            remedy="choose another folder with --out",
        )


def comparison(runs: list[Path], out: Path | None) -> None:
    """Compares runs, and prints the ranking and the verdict."""
    if out is None:
        from .errors import ConfigError

        raise ConfigError(
            "where shall the comparison go?",
            why=f"{len(runs)} runs are named, and it belongs to none of them",
            remedy="name a folder for it with --out",
        )
    _check_free(out)
    from .compare import compare
    from .progress import display

    with display() as shown:
        result = compare(runs, out, shown)
    for line in result.lines():
        say(line)


@contextmanager
def refusals(debug: bool) -> Iterator[None]:
    """Shows a user's mistake as one message, and ends with its exit code."""
    try:
        yield
    except (VolclassError, OSError, ValueError, RuntimeError) as error:
        told = error if isinstance(error, VolclassError) else _told_by_others(error)
        if debug or told is None:
            raise
        say(f"volclass: {told}", err=True)
        raise typer.Exit(told.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("volclass: interrupted", err=True)
        raise typer.Exit(130) from None


def _told_by_others(error: Exception) -> VolclassError | None:
    """The refusal that an error of Python or torch amounts to, if it is one that users can meet."""
    return _ended_loader(error) if isinstance(error, RuntimeError) else _impossible_path(error)


def _ended_loader(error: RuntimeError) -> VolclassError | None:
    """The refusal of a loading process that somebody else ended, which torch says anywhere."""
    from .errors import EndedLoaderError

    # Where torch waited for a batch, it tells the signal in the error before this one.
    told = [str(each) for each in (error.__cause__, error) if isinstance(each, RuntimeError)]
    ended = [text for text in told if text.startswith("DataLoader worker")]
    return EndedLoaderError(ended[0].splitlines()[0].split(". ")[0].rstrip(".")) if ended else None


def _impossible_path(error: Exception) -> VolclassError | None:
    """The refusal of a path that no file can have, if that is what the system complains about.

    It says so wherever such a path is looked at first, which may be anywhere.
    """
    from .errors import ConfigError

    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = str(error.filename)
        return ConfigError(
            "a path is too long for the file system",
            where=f"{name[:_SHOWN]}... ({len(name):,} characters)",
            remedy="correct it; perhaps the content of a file stands where its name belongs",
        )
    if "embedded null" in str(error):
        remedy = "correct the path, or write the file that names it anew as plain UTF-8 text"
        return ConfigError("a path holds a NUL character, which no file's name can", remedy=remedy)
    return None


def stop(message: str) -> NoReturn:
    """Ends with a message that needs no more imports than this module."""
    sys.stderr.write(message + "\n")
    raise SystemExit(2)
