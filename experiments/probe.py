"""Reads labels from frozen features with linear and MLP probes, and compares with guessing.

  python -m experiments.probe --features=runs/a/features/test_500000 --target=height
  python -m experiments.probe --features=TRAIN --test_features=TEST --target=stable --num_train=1000
  python -m experiments.probe --features=DIR --target=shape,color,x,y --probe=linear

TRAIN, TEST and DIR are what experiments.extract_features wrote. A label of images, such as `stable`
and `height` of ShapeStacks, is read from the model's features; a label of objects, such as `shape`,
`color`, `x` and `y`, from the latents of the slot that Hungarian matching of mask IoUs gives to the
object; `centroid`, where an object is seen, follows from the true masks. Classes are scored by
accuracy beside that of the most frequent class, quantities by R² beside that of the mean. Seeds
draw the training images, the split and the initialisation; ± is the standard deviation over them.
The GENESIS paper (ICLR 2020) reads stability and height of ShapeStacks from concatenated latents,
too, but with classifiers of its own: compare models by these probes among each other.

Without --test_features a fifth of the images is held out. Where a scene has several images, as in
ShapeStacks and GQN, give features of another split: else a probe is tested on scenes it has seen.
"""

import argparse
import contextlib

from data_pipelines.command_line import Parser, file_name, place, whole_number
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.

KINDS = ("linear", "mlp")  # as features.probes.PROBES, which is imported with scikit-learn
REPRESENTATIONS = ("features", "mean", "sample")


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with status 2."""
  parser = Parser("experiments.probe", __doc__)
  add = parser.add_argument
  add("--features", type=place, required=True, metavar="DIR", help="to learn from")
  add("--test_features", type=place, metavar="DIR", help="of the same model; to test on")
  add("--target", required=True, metavar="LABEL[,LABEL...]", help="what to predict")
  add("--probe", choices=(*KINDS, "both"), default="both", help="default: both")
  add("--representation", choices=REPRESENTATIONS,
      help="default: features for images, mean (of a slot's latents) for objects")  # fmt: skip
  add("--num_train", type=whole_number(1), help="training images; default: all")
  add("--num_seeds", type=whole_number(1), default=3, help="default: 3")
  add("--out", type=file_name(".json"), metavar="FILE.json",
      help="default: DIR/probe_<targets>.json")  # fmt: skip
  options = parser.parse_args(argv)
  options.targets = list(dict.fromkeys(filter(None, options.target.split(","))))
  if not options.targets:
    parser.error("--target names no label")
  options.probes = KINDS if options.probe == "both" else (options.probe,)
  return options


@program.entry
def main(argv: list[str]) -> None:
  """Probes, and shows the table."""
  options = parse(argv)
  startup.stay_on_cpu()
  from experiments.features import comparison
  from experiments.stores.addresses import name_of
  from experiments.stores.reading import folder_brought
  from experiments.stores.writing import file_written

  with contextlib.ExitStack() as stack:
    options.features = stack.enter_context(folder_brought(options.features))
    if options.test_features:
      options.test_features = stack.enter_context(folder_brought(options.test_features))
    options.out = stack.enter_context(file_written(options.out))
    path, content = comparison.run(options)
    place = name_of(path)
  of = content["features"]
  print(f"features   {of['run']['model']['name']}, checkpoint {of['run']['step']}, "
        f"{of['num_images']} images of {of['data']['split']}")  # fmt: skip
  print(f"data       {of['data']['description']}")
  print(comparison.table(content["results"], options.probes))
  for line in content["notes"]:
    print(f"note       {line}")
  print(f"results    {place}", flush=True)


if __name__ == "__main__":
  program.run(main)
