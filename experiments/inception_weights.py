"""Converts the weights of FID's Inception network, so that they need neither PyTorch nor a network.

  python -m experiments.inception_weights --convert weights.npz       # from the published file
  python -m experiments.inception_weights --inception_weights my.pth --convert weights.npz

Without --inception_weights the published file is looked for in our cache and in PyTorch's, and else
downloaded.
"""

from absl import logging

from data_pipelines.command_line import Parser, place
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


@program.entry
def main(argv: list[str]) -> None:
  """Converts, and says what was found."""
  parser = Parser("experiments.inception_weights", __doc__)
  parser.add_argument("--inception_weights", metavar="FILE", help="default: the published file")
  parser.add_argument("--convert", type=place, metavar="OUT.npz", required=True)
  options = parser.parse_args(argv)
  startup.stay_on_cpu()
  # JAX reads the settings above when it is imported.
  from experiments.scoring.fid import weights
  from experiments.stores.writing import file_written

  logging.set_verbosity(logging.INFO)
  found = weights.read(options.inception_weights)
  with file_written(options.convert) as out:
    weights.convert(found, out)
  known = "the published weights" if found.published else "not the published weights"
  print(f"wrote {options.convert} from {found.path} ({known}, SHA-256 {found.sha256})")


if __name__ == "__main__":
  program.run(main)
