"""Published figures of others, to stand beside ours: MedMNIST 3D at 28^3, official splits.

Source: Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41, and the table of the project's own
site; AUC (macro one-versus-rest) and accuracy on the test split, without intervals. The protocol
there takes the best of 100 epochs by validation AUC.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One method.

    Attributes:
        method: As the paper calls it.
        figures: AUC and accuracy by the name of the set.
    """

    method: str
    figures: dict[str, tuple[float, float]]


_SETS = (
    *("organmnist3d", "nodulemnist3d", "fracturemnist3d"),
    *("adrenalmnist3d", "vesselmnist3d", "synapsemnist3d"),
)


def _row(method: str, *figures: tuple[float, float]) -> PublishedRow:
    return PublishedRow(method, dict(zip(_SETS, figures, strict=True)))


PUBLISHED = (
    _row("ResNet-18 + 2.5D", (0.977, 0.788), (0.838, 0.835), (0.587, 0.451), (0.718, 0.772),
         (0.748, 0.846), (0.634, 0.696)),
    _row("ResNet-18 + 3D", (0.996, 0.907), (0.863, 0.844), (0.712, 0.508), (0.827, 0.721),
         (0.874, 0.877), (0.820, 0.745)),
    _row("ResNet-18 + ACS", (0.994, 0.900), (0.873, 0.847), (0.714, 0.497), (0.839, 0.754),
         (0.930, 0.928), (0.705, 0.722)),
    _row("ResNet-50 + 2.5D", (0.974, 0.769), (0.835, 0.848), (0.552, 0.397), (0.732, 0.763),
         (0.751, 0.877), (0.669, 0.735)),
    _row("ResNet-50 + 3D", (0.994, 0.883), (0.875, 0.847), (0.725, 0.494), (0.828, 0.745),
         (0.907, 0.918), (0.851, 0.795)),
    _row("ResNet-50 + ACS", (0.994, 0.889), (0.886, 0.841), (0.750, 0.517), (0.828, 0.758),
         (0.912, 0.858), (0.719, 0.709)),
    _row("auto-sklearn", (0.977, 0.814), (0.914, 0.874), (0.628, 0.453), (0.828, 0.802),
         (0.910, 0.915), (0.631, 0.730)),
    _row("AutoKeras", (0.979, 0.804), (0.844, 0.834), (0.642, 0.458), (0.804, 0.705),
         (0.773, 0.894), (0.538, 0.724)),
)  # fmt: skip
