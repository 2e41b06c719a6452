"""Probes: how well simple predictors read a label from frozen features.

  examples = scene_examples(folder, "height")       # a representation for each image
  examples = slot_examples(folder, "shape")         # or one for each object's slot
  scores = dict(compare(*split(examples, seed=0), seed=0))
  scores["linear"].score, scores["baseline"].score  # accuracy, or R²

A linear probe is logistic or ridge regression on standardised features, its regularisation chosen
within the training examples; an MLP probe has one hidden layer and stops early. Slots are matched
with objects one to one, by Hungarian matching of their masks' IoU (as Dittadi et al., ICML 2022,
match masks).
"""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.console.errors import UserError
from experiments.features.files import FeatureFolder
from genesis_jax import metrics
from genesis_jax.contingency import MAX_IDS, contingency_tables

PROBES = ("linear", "mlp")
CENTROID = "centroid"  # a target that follows from the instances alone
# Multi-dSprites and Tetrominoes store the number of a shape as a float.
CODES_AS_FLOATS = ("shape",)

TEST_SHARE = 0.2  # of the images, where there are no others to test on
MIN_TRAIN, MIN_TEST = 20, 5  # examples
FOLDS = 3
MIN_OF_CLASS = FOLDS  # training examples, one for each fold
STRENGTHS = np.logspace(-4, 1, 6)  # C of the logistic regression
ALPHAS = np.logspace(-2, 6, 9)  # of the ridge regression
HIDDEN = 256  # units of the MLP


class Examples(NamedTuple):
  """What a probe is fitted to.

  Attributes:
    target: name of the label.
    inputs: float32 `[N,F]`.
    values: of the label, `[N]` or `[N,C]`; integers are classes.
    images: int64 `[N]`, the image that each example comes from.
    matching: of slots, None for images: number of "objects" that can be seen and of those
      "matched", and the "mean_iou" of these.
  """

  target: str
  inputs: np.ndarray
  values: np.ndarray
  images: np.ndarray
  matching: dict[str, float] | None = None

  @property
  def are_classes(self) -> bool:
    """Whether the label is a class, not a quantity."""
    return self.values.dtype.kind in "iub" and self.values.ndim == 1


class Score(NamedTuple):
  """Of one probe on the test examples: accuracy, or R², also of each of several columns."""

  score: float
  columns: list[float] | None
  converged: bool = True


def _check_label(folder: FeatureFolder, target: str) -> None:
  of_images = sorted(name for name in folder.labels if not folder.is_of_objects(name))
  of_objects = sorted(name for name in folder.labels if folder.is_of_objects(name))
  of_objects += [CENTROID] * ("instances" in folder.arrays)
  if target not in of_images + of_objects:
    raise UserError(
      f"--target {target!r}: {folder.folder} has no such label; there are, of images: "
      f"{', '.join(of_images) or 'none'}; of objects: {', '.join(of_objects) or 'none'}"
    )


def is_of_objects(folder: FeatureFolder, target: str) -> bool:
  """Whether a target belongs to objects, not to whole images.

  Raises:
    UserError: there is no such label; it names those that there are.
  """
  _check_label(folder, target)
  return target == CENTROID or folder.is_of_objects(target)


def _latent_names(folder: FeatureFolder, representation: str) -> list[str]:
  return [name for name in folder.arrays if name.startswith("latent_")
          and name.endswith(f"_{representation}")]  # fmt: skip


def _typed(target: str, values: np.ndarray) -> np.ndarray:
  """Values of a label, integers where they are classes."""
  if target in CODES_AS_FLOATS:
    values = np.round(values).astype(np.int64)
  return values


def _checked(examples: Examples) -> Examples:
  """The examples; raises UserError if there is nothing to learn from them."""
  where = f"{examples.target}: {len(examples.values)} examples"
  if not len(examples.values):
    raise UserError(f"{examples.target}: no slot was matched with an object; nothing to probe")
  if not np.isfinite(examples.inputs).all() or not np.isfinite(examples.values).all():
    raise UserError(f"{where} hold values that are not finite")
  if (examples.values == examples.values[:1]).all():
    raise UserError(
      f"{where} all have the value {examples.values[0]}: there is nothing to predict; take more "
      "images, or another target"
    )
  return examples


def scene_examples(
  folder: FeatureFolder, target: str, representation: str = "features"
) -> Examples:
  """An example for each image.

  Args:
    folder: of features.
    target: name of a label with one value for each image.
    representation: "features", or the "mean" or "sample" of all latents of all slots.

  Raises:
    UserError: no such label, or nothing to learn from it.
  """
  _check_label(folder, target)
  names = ["features"] if representation == "features" else _latent_names(folder, representation)
  label, inputs, values = f"label_{target}", [], []
  for shard in folder.shards([*names, label]):
    count = len(shard[label])
    inputs.append(np.concatenate([shard[name].reshape(count, -1) for name in names], 1))
    values.append(shard[label])
  values = _typed(target, np.concatenate(values))
  return _checked(Examples(target, np.concatenate(inputs), values, np.arange(len(values))))


def _check_masks(folder: FeatureFolder, target: str) -> None:
  for name, cause in (
    ("instances", "the data has no true masks"),
    ("segments", "the model has no slots"),
  ):
    if name not in folder.arrays:
      raise UserError(
        f"{target} is of objects, whose slots are found by their masks, but {folder.folder} has no "
        f"{name}: {cause}; probe a label of images instead"
      )


def slot_examples(folder: FeatureFolder, target: str, representation: str = "mean") -> Examples:
  """An example for each object that a slot is matched with: the latents of that slot.

  Args:
    folder: of features.
    target: name of a label with one value for each object, or "centroid" (row and column of an
      object's visible pixels, -1 to 1 from border to border).
    representation: "mean" or "sample" of the latents.

  Raises:
    UserError: no such label, no masks to match with, or nothing to learn.
  """
  _check_label(folder, target)
  _check_masks(folder, target)
  names = _latent_names(folder, representation)
  label = [] if target == CENTROID else [f"label_{target}"]
  parts, first, seen = [], 0, 0
  for shard in folder.shards([*names, "instances", "segments", *label]):
    if shard["instances"].max() >= MAX_IDS:
      raise UserError(
        f"{folder.folder} has ids of objects up to {shard['instances'].max()}; probes of objects "
        f"take ids up to {MAX_IDS - 1}"
      )
    pairs, num_seen = match(shard["instances"], shard["segments"])
    image, entity, slot = pairs.index.T
    inputs = np.concatenate([shard[name][image, slot] for name in names], 1)
    if target == CENTROID:
      values = centroids(shard["instances"], image, entity)
    else:
      values = _of_entities(shard[label[0]], target, image, entity)
    parts.append((inputs, values, first + image, pairs.iou))
    first, seen = first + len(shard["instances"]), seen + num_seen
  inputs, values, images, ious = (np.concatenate(part) for part in zip(*parts, strict=True))
  matching = dict(objects=seen, matched=len(ious), mean_iou=float(ious.mean()) if len(ious) else 0)
  return _checked(Examples(target, inputs, _typed(target, values), images, matching))


def _of_entities(label: np.ndarray, target: str, image: np.ndarray, entity: np.ndarray):
  """Rows of a label `[n,E,...]`."""
  if entity.size and entity.max() >= label.shape[1]:
    raise UserError(
      f"{target} has values for {label.shape[1]} entities, but there is an object with id "
      f"{entity.max() + 1}"
    )
  return label[image, entity]


class Pairs(NamedTuple):
  """Slots matched with objects: (image, entity, slot) `[M,3]`, ids are entity + 1; IoUs `[M]`."""

  index: np.ndarray
  iou: np.ndarray


def match(instances: np.ndarray, segments: np.ndarray) -> tuple[Pairs, int]:
  """Matches slots one to one with objects, so that the sum of their IoUs is the largest.

  Args:
    instances: true ids `[n,S,S]`; 0 is background, and pixels with negative ids do not count.
    segments: slots `[n,S,S]`.

  Returns:
    The pairs that overlap, and the number of objects that can be seen.
  """
  counts = contingency_tables(instances, segments.astype(np.int32)).astype(np.float64)
  ious = metrics.ious_of_counts(counts[:, 1:])[:, 1:]  # of objects, not of the background
  pairs = metrics.matched(ious)
  image = np.broadcast_to(np.arange(len(ious))[:, None], pairs.shape[:2])
  index = np.concatenate([image[..., None], pairs], -1).reshape(-1, 3)
  iou = ious[tuple(index.T)]
  return Pairs(index[iou > 0], iou[iou > 0]), int((counts[:, 2:].sum(2) > 0).sum())


def centroids(instances: np.ndarray, image: np.ndarray, entity: np.ndarray) -> np.ndarray:
  """Mean (row, column) of the pixels with id entity + 1, each from -1 to 1; float64 `[M,2]`."""
  place = np.linspace(-1, 1, instances.shape[1])
  visible = instances[image] == (entity + 1)[:, None, None]
  rows, columns = visible.sum(2), visible.sum(1)
  area = rows.sum(1)
  return np.stack([rows @ place, columns @ place], 1) / area[:, None]


def split(examples: Examples, seed: int) -> tuple[Examples, Examples]:
  """Training and test examples, of different images."""
  images = np.unique(examples.images)
  np.random.default_rng(seed).shuffle(images)
  is_test = np.isin(examples.images, images[: round(len(images) * TEST_SHARE)])
  return _rows(examples, ~is_test), _rows(examples, is_test)


def subset(examples: Examples, num_images: int, seed: int) -> Examples:
  """The examples of some images, drawn at random; all where there are no more."""
  images = np.unique(examples.images)
  np.random.default_rng([seed, 1]).shuffle(images)
  return _rows(examples, np.isin(examples.images, images[:num_images]))


def _rows(examples: Examples, chosen: np.ndarray) -> Examples:
  rows = {name: getattr(examples, name)[chosen] for name in ("inputs", "values", "images")}
  return examples._replace(**rows)


def _frequent(train: Examples) -> Examples:
  """Without examples of classes that are too rare to learn; tests still have them."""
  if not train.are_classes:
    return train
  _, inverse, counts = np.unique(train.values, return_inverse=True, return_counts=True)
  return _rows(train, counts[inverse] >= MIN_OF_CLASS)


def _classifier(probe: str, train: Examples, seed: int):
  if probe == "linear":
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return GridSearchCV(pipeline, {"logisticregression__C": STRENGTHS}, cv=folds)
  # Early stopping sets examples of every class aside.
  num_classes = len(np.unique(train.values))
  aside = max(0.1, num_classes / len(train.values))
  return make_pipeline(StandardScaler(), MLPClassifier(**_mlp(seed), validation_fraction=aside))


def _regressor(probe: str, seed: int):
  if probe == "linear":
    return make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
  pipeline = make_pipeline(StandardScaler(), MLPRegressor(**_mlp(seed)))
  return TransformedTargetRegressor(pipeline, transformer=StandardScaler())


def _mlp(seed: int) -> dict:
  return dict(hidden_layer_sizes=(HIDDEN,), early_stopping=True, random_state=seed)


def _baseline(train: Examples):
  return DummyClassifier(strategy="most_frequent") if train.are_classes else DummyRegressor()


def _scored(test: Examples, predicted: np.ndarray, converged: bool = True) -> Score:
  if test.are_classes:
    return Score(float(accuracy_score(test.values, predicted)), None, converged)
  columns = np.atleast_1d(r2_score(test.values, predicted, multioutput="raw_values"))
  several = [float(value) for value in columns] if len(columns) > 1 else None
  return Score(float(columns.mean()), several, converged)


def compare(
  train: Examples, test: Examples, seed: int, probes: tuple[str, ...] = PROBES
) -> Iterator[tuple[str, Score]]:
  """Fits probes, and the baseline that knows no features: majority class, or mean.

  Args:
    train, test: examples of different images.
    seed: of folds and initialisation.
    probes: some of `PROBES`.

  Yields:
    ("baseline", score), then (probe, score) for each.

  Raises:
    UserError: too few examples, or only one value among those to learn from.
  """
  train = _frequent(train)
  for what, part, least in (("train", train, MIN_TRAIN), ("test", test, MIN_TEST)):
    if len(part.values) < least:
      raise UserError(
        f"{train.target}: {len(part.values)} examples to {what} on are too few, at least {least} "
        "are needed; extract the features of more images"
      )
  _checked(train)
  yield "baseline", _scored(test, _baseline(train).fit(train.inputs, train.values)
                            .predict(test.inputs))  # fmt: skip
  for probe in probes:
    make = _classifier(probe, train, seed) if train.are_classes else _regressor(probe, seed)
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always")
      make.fit(train.inputs, train.values)
    stopped = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    yield probe, _scored(test, make.predict(test.inputs), not stopped)
