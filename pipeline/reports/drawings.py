"""Chooses what is drawn for a run and says it in words for those who cannot see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from ..evaluation.calibration import reliability_bins
from ..evaluation.cases import FloatArray
from ..evaluation.curves import precision_recall_curve, roc_curve
from ..evaluation.intervals import resamplings
from ..evaluation.metrics import ones
from ..evaluation.ranking import weighted_auroc, weighted_average_precision
from .plots import best_epoch, learning_plot, precision_recall_plot, reliability_plot, roc_plot
from .run_files import RunFiles

_BAND_CELLS = 4_000_000


@dataclass(frozen=True)
class Drawing:
    """A drawing, its title and the figures beside the title."""

    title: str
    detail: str
    svg: Markup


def band_weights(run: RunFiles) -> FloatArray:
    """Multiplicities for bands, shape (R, N); fewer resamplings where cases are very many."""
    count = min(run.settings.bootstrap, max(200, _BAND_CELLS // len(run.scored)))
    return np.concatenate(list(resamplings(run.scored, count, run.seed)))


def ranking_drawings(run: RunFiles, weights: FloatArray) -> list[tuple[Drawing, Drawing]]:
    """ROC and precision-recall curve of the positive class, or of each class against the rest."""
    cases, pairs = run.scored, []
    many = len(cases.scored_columns) > 1
    for column in cases.scored_columns:
        name, positive = cases.classes[column], cases.labels == column
        roc, precision = (
            roc_curve(cases, column, weights),
            precision_recall_curve(cases, column, weights),
        )
        if roc is None or precision is None:
            continue
        scores, one = cases.probabilities[:, column], ones(cases)
        area = f"pooled AUROC {weighted_auroc(scores, positive, one)[0]:.3f}"
        mean = f"average precision {weighted_average_precision(scores, positive, one)[0]:.3f}"
        about = f"of “{name}” with its 95 % band"
        pairs.append(
            (
                Drawing(
                    name,
                    area,
                    roc_plot(roc, f"roc{column}", f"ROC curve {about}; {area}", compact=many),
                ),
                Drawing(
                    name,
                    mean,
                    precision_recall_plot(
                        precision,
                        float(positive.mean()),
                        f"pr{column}",
                        f"Precision-recall curve {about}; {mean}",
                        compact=many,
                    ),
                ),
            )
        )
    return pairs


def reliability_drawing(run: RunFiles, weights: FloatArray) -> Markup:
    """The reliability diagram of all cases."""
    bins = reliability_bins(run.scored, weights)
    told = "; ".join(
        f"confidence {item.confidence:.2f}: accuracy {item.accuracy:.2f} of {item.cases} cases"
        for item in bins
    )
    return reliability_plot(bins, "reliability", f"Reliability diagram. {told}")


def learning_drawings(run: RunFiles) -> list[Drawing]:
    """The learning curves of every fold that has a log."""
    result = []
    for fold, epochs in sorted(run.logs.items()):
        best = best_epoch(epochs)
        detail = f"{epochs[-1].epoch} epochs" + (f", best {best}" if best is not None else "")
        if fold in run.unfinished:
            detail += ", not finished"
        alt = f"Loss and validation AUROC of fold {fold}: {detail}"
        result.append(Drawing(f"Fold {fold}", detail, learning_plot(epochs, f"fold{fold}", alt)))
    return result
