"""Curves of dials: all on the same scales, with every level in sight."""

import numpy as np
import pytest

from experiments.shifts import drawing, measuring
from experiments.shifts.dials import Dial, Level

LABELS = ("multi_dsprites_colored:colored_on_grayscale", "1", "2")


def measured(scale: float) -> measuring.Measured:
  values = {"mse": scale, "ari_fg": 0.5, "kl": 3.0}
  scores = {name: dict(mean=x, low=x / 2, high=2 * x) for name, x in values.items()}
  return measuring.Measured("", 1, scores, np.zeros(1), {})


def test_dials_share_scales_and_nothing_lies_outside():
  scales = {"noise": (0.01, 0.1, 1.0), "contrast": (0.01, 1e-3, 1e-4)}
  levels = [Level(label, num_slots=n or None) for n, label in enumerate(LABELS)]
  found = [(Dial(name, levels), [measured(x) for x in means]) for name, means in scales.items()]
  figure = drawing.curves(found, ["mse", "ari_fg"], "a model")
  axes = [axes for axes in figure.axes if axes.lines]
  assert len(axes) == 4 and len({axes.get_ylim() for axes in axes}) == 2
  words = [text.get_text() for text in axes[1].get_xticklabels()]
  assert words == ["multi_\ndsprites_\ncolored:\ncolored_on_\ngrayscale", "1", "2"]
  for one in axes:
    low, high = one.get_ylim()
    for line in one.lines:
      assert all(low <= y <= high for y in line.get_ydata())


def test_images_are_ranked_by_segments_or_else_by_the_error():
  values = {"ari_fg": np.array([0.0, 1.0]), "msc_fg": np.array([0.8, 0.2]), "mse": np.ones(2)}
  assert measuring.quality(values) == pytest.approx([0.4, 0.6])
  assert measuring.quality({"mse": np.array([1.0, 2.0])}) == pytest.approx([-1.0, -2.0])
