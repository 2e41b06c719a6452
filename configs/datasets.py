"""What is read and how: one function per data set, with the same fields everywhere."""

import ml_collections
from ml_collections import config_dict


def _common(
  name: str, variant: str, image_size: int, num_slots: int, resize: str = "nearest"
) -> dict:
  return dict(
    name=name,
    variant=variant,
    image_size=image_size,  # pixels a side; shared with the model
    num_slots=num_slots,  # of the published experiments; `compose` gives it to the model
    source="files",  # or generator: scenes rendered without end on the accelerator, no files read
    data_dir=config_dict.placeholder(str),  # unset: look under data/, else render a stand-in
    cache_gb=50.0,  # disk for copies of files where data_dir is an address, such as gs://bucket
    resize=resize,  # nearest (as the original), bilinear (antialiased), area, protocol (its own)
    on_corrupt="error",  # or skip: leave out broken records and count them
    limit=0,  # at most this many images of a split; 0: all
    order="lanes",  # of training records: each host reads its share; or buffer, as formerly: all
    shuffle_buffer=10_000,  # encoded records
    resident=False,  # keep all training images on the devices
    num_val=10_000,  # leading images of single-file sets; GQN splits by file
    num_test=10_000,
    standin_scenes=2_000,  # size of the rendered stand-in
  )


def common_fields() -> set[str]:
  """The fields that every data set has."""
  return set(_common("", "", 0, 0))


def gqn() -> ml_collections.ConfigDict:
  """GQN scenes (Eslami et al. 2018); `variant` names one of the seven published sets."""
  return ml_collections.ConfigDict(_common("gqn", "rooms_ring_camera", 64, 7))


def multi_dsprites() -> ml_collections.ConfigDict:
  """Multi-dSprites of the GENESIS paper; `variant` is default, or unique: no colour twice."""
  return ml_collections.ConfigDict(_common("multi_dsprites", "default", 64, 5))


def objects_room() -> ml_collections.ConfigDict:
  """Objects Room (Kabra et al. 2019); variants train, six_objects, empty_room, identical_color."""
  return ml_collections.ConfigDict(_common("objects_room", "train", 64, 7))


def clevr() -> ml_collections.ConfigDict:
  """CLEVR with masks (Kabra et al. 2019); `protocol`, genesis or iodine: whose crop and splits."""
  # Compact records of CLEVR are ten times as large, and come ten times more slowly.
  own = dict(protocol="genesis", shuffle_buffer=2_000, standin_scenes=500)
  return ml_collections.ConfigDict(_common("clevr", "train", 128, 11, "protocol") | own)


def tetrominoes() -> ml_collections.ConfigDict:
  """Tetrominoes (Kabra et al. 2019); `protocol` is genesis or iodine: whose crop and splits."""
  fields = _common("tetrominoes", "train", 32, 4, "protocol") | dict(protocol="genesis")
  return ml_collections.ConfigDict(fields)


def multi_dsprites_colored() -> ml_collections.ConfigDict:
  """Multi-dSprites of the Multi-Object Datasets.

  Variants colored_on_colored, colored_on_grayscale, binarized.
  """
  return ml_collections.ConfigDict(_common("multi_dsprites_colored", "colored_on_colored", 64, 5))


def shapestacks() -> ml_collections.ConfigDict:
  """ShapeStacks (Groth et al. 2018); variants are split lists: default, blocks_all, ccs_all."""
  return ml_collections.ConfigDict(_common("shapestacks", "default", 64, 9, "bilinear"))


def sketchy() -> ml_collections.ConfigDict:
  """Sketchy (Cabi et al. 2020), the episodes that the GENESIS-V2 paper used."""
  return ml_collections.ConfigDict(_common("sketchy", "default", 128, 10, "bilinear"))


def apc() -> ml_collections.ConfigDict:
  """Amazon Picking Challenge 2016, object segmentation training set (Zeng et al. 2017)."""
  return ml_collections.ConfigDict(_common("apc", "default", 128, 10, "bilinear"))


def clevrtex() -> ml_collections.ConfigDict:
  """ClevrTex (Karazija et al. 2021); variants full, pbg, vbg, grassbg, camo, outd."""
  own = dict(standin_scenes=500)  # as large as CLEVR's
  return ml_collections.ConfigDict(_common("clevrtex", "full", 128, 11, "bilinear") | own)


def image_folder() -> ml_collections.ConfigDict:
  """Your own images; `data_dir` says where they are."""
  own = dict(  # unset: recognised, see docs/data.md
    images=config_dict.placeholder(str),  # which files: a folder, an end of names, or a pattern
    masks=config_dict.placeholder(str),  # the same, a JSON file, or none
    ignore_ids=config_dict.placeholder(object),  # values in masks that are not scored: 255, "0-9"
    background_ids=config_dict.placeholder(object),  # values that are no instance; usually 0
    split_by=config_dict.placeholder(str),  # image, folder, or a folder with train.txt, val.txt
  )
  return ml_collections.ConfigDict(_common("image_folder", "default", 64, 7, "bilinear") | own)


def tfds() -> ml_collections.ConfigDict:
  """Any set of TensorFlow Datasets that was built; `builder` names it as tfds does."""
  own = dict(  # unset: recognised, see docs/data.md
    builder=config_dict.placeholder(str),  # clevr, or movi_a/128x128:1.0.0
    image_feature=config_dict.placeholder(str),  # of images or videos
    segmentation_feature=config_dict.placeholder(str),  # of ids of instances; none: there is none
    train_split=config_dict.placeholder(str),  # as tfds writes it: train[:90%]
    val_split=config_dict.placeholder(str),
    test_split=config_dict.placeholder(str),
    ignore_ids=config_dict.placeholder(object),  # as of image_folder
    background_ids=config_dict.placeholder(object),
  )
  return ml_collections.ConfigDict(_common("tfds", "default", 128, 11, "bilinear") | own)


def hdf5() -> ml_collections.ConfigDict:
  """A file of the Object-Centric Library (Dittadi et al. 2022), divided as that does it."""
  own = dict(
    file=config_dict.placeholder(str),  # name of one of several files in data_dir
    num_background=1,  # leading entities; of objects_room 4
    num_val=5_000,
    num_test=5_000,
  )
  return ml_collections.ConfigDict(_common("hdf5", "default", 64, 7, "bilinear") | own)


def own(
  module: str, name: str, image_size: int, num_slots: int, **fields
) -> ml_collections.ConfigDict:
  """A data set of your own.

  Args:
    module: the file with its reader (see docs/architecture.md): `__file__`, where a configuration
      brings its own.
    name: for labels and folders.
    image_size: pixels a side.
    num_slots: for models that divide the image.
    **fields: others than usual, and those of your reader alone.
  """
  common = _common(name, "default", image_size, num_slots)
  return ml_collections.ConfigDict(common | dict(module=module) | fields)


DATASETS = {
  "gqn": gqn,
  "multi_dsprites": multi_dsprites,
  "objects_room": objects_room,
  "clevr": clevr,
  "tetrominoes": tetrominoes,
  "multi_dsprites_colored": multi_dsprites_colored,
  "shapestacks": shapestacks,
  "sketchy": sketchy,
  "apc": apc,
  "clevrtex": clevrtex,
  "image_folder": image_folder,
  "tfds": tfds,
  "hdf5": hdf5,
}


def own_fields() -> dict[str, list[str]]:
  """Fields that only some data sets have -> these data sets."""
  found: dict[str, list[str]] = {}
  for name, fields in DATASETS.items():
    for field in set(fields()) - common_fields():
      found.setdefault(field, []).append(name)
  return dict(sorted(found.items()))
