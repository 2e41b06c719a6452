"""How published experiments cut, scaled and split CLEVR and Tetrominoes.

    protocol = get("clevr", "iodine")
    protocol.crop(240, 320, 128)            # (29, 221, 64, 256): rows and columns that are kept
    protocol.resize                         # "bilinear_tf1"

`genesis` is the preparation of the GENESIS papers (Engelcke et al. 2020, 2021): test images lead
the file, pixels are picked by nearest neighbour. `iodine` is that of IODINE (Greff et al. 2019,
github.com/google-deepmind/deepmind-research, iodine/modules/data.py): other rows of CLEVR, scaled
by the bilinear method of TensorFlow 1, ids by nearest neighbour; Tetrominoes keep their 35 pixels.
IODINE's code trains on what its paper counts, 70,000 and 60,000 images, and sets none aside; as
those who compare with it do (Locatello et al. 2020), 320 images after these are for testing.
"""

from typing import TYPE_CHECKING, NamedTuple

from data_pipelines.sources import RESIZE, check_choice, resize_ids, resize_images

if TYPE_CHECKING:
  import tensorflow as tf

TF1_BILINEAR = "bilinear_tf1"
FROM_PROTOCOL = "protocol"  # a configuration's `resize` that leaves it to the protocol
NUM_TEST_IODINE = 320

Box = tuple[int, int, int, int]  # first row, end of rows, first column, end of columns


class Protocol(NamedTuple):
  """One published preparation of one data set.

  Attributes:
    box: what is kept of every image; None: all.
    keeps: image sizes that are cut from the middle instead of scaled, from least to most.
    resize: how the rest is scaled, where the configuration does not say.
    train_first: whether training images lead the file, and not test images.
    max_test: at most so many test images.
  """

  box: Box | None = None
  keeps: tuple[int, int] | None = None
  resize: str = "nearest"
  train_first: bool = False
  max_test: int | None = None

  def crop(self, height: int, width: int, size: int) -> Box:
    """What is kept of images of this height and width that become `size` pixels."""
    if self.box:
      return self.box
    if self.keeps and self.keeps[0] <= size <= self.keeps[1]:
      top, left = (height - size) // 2, (width - size) // 2
      return top, top + size, left, left + size
    return 0, height, 0, width

  def span(
    self, split: str, *, used: int | None, num_val: int, num_test: int
  ) -> tuple[int, int | None]:
    """First image of a split and how many, of a file with `used` images of note (None: all)."""
    num_test = num_test if self.max_test is None else min(num_test, self.max_test)
    if self.train_first:
      return {
        "train": (0, used),
        "test": (used, num_test),
        "val": (used + num_test, num_val),
      }[split]
    held_out = num_test + num_val
    rest = None if used is None else max(used - held_out, 0)
    return {"test": (0, num_test), "val": (num_test, num_val), "train": (held_out, rest)}[split]


DEFAULT = Protocol()
PROTOCOLS = {
  "clevr": {
    "genesis": Protocol(box=(24, 216, 64, 256)),
    "iodine": Protocol(
      box=(29, 221, 64, 256),
      resize=TF1_BILINEAR,
      train_first=True,
      max_test=NUM_TEST_IODINE,
    ),
  },
  "tetrominoes": {
    "genesis": DEFAULT,
    "iodine": Protocol(
      keeps=(32, 35), resize=TF1_BILINEAR, train_first=True, max_test=NUM_TEST_IODINE
    ),
  },
}


def named(config) -> str | None:
  """The protocol that a configuration names, for data sets that have several."""
  if config.name not in PROTOCOLS:
    return None
  return getattr(config, "protocol", None) or "genesis"


def get(name: str, protocol: str | None) -> Protocol:
  """A data set's protocol; those that have but one need no name for it.

  Raises:
    ValueError: there is no such protocol for the data set.
  """
  if name not in PROTOCOLS:
    return DEFAULT
  check_choice("data.protocol", protocol, PROTOCOLS[name])
  return PROTOCOLS[name][protocol]


def allowed_resize(name: str) -> tuple[str, ...]:
  """Values of `resize` in the configuration of a data set."""
  return (*RESIZE, FROM_PROTOCOL) if name in PROTOCOLS else RESIZE


def scale(
  images: "tf.Tensor", ids: "tf.Tensor", size: int, method: str
) -> tuple["tf.Tensor", "tf.Tensor"]:
  """Images [B, S, S, 3] and ids [B, S, S] at another size, by a method that a protocol may name."""
  if method != TF1_BILINEAR:
    return resize_images(images, size, method), resize_ids(ids, size, method)
  import tensorflow as tf  # not above: the generator knows protocols, and reads no files

  # Pixel i comes from i * S / size: corners are kept, and so are those that nearest takes.
  if images.shape[1] != size:
    resized = tf.compat.v1.image.resize_bilinear(images, (size, size))
    images = tf.saturate_cast(tf.round(resized), tf.uint8)
  return images, resize_ids(ids, size, "nearest")
