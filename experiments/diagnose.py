"""Reads a run, and says in words what is wrong with it and what to try.

  python -m experiments.diagnose --workdir=runs/genesis_gqn
  python -m experiments.diagnose --workdir=runs/genesis_gqn --json

Looks at the logged numbers, and at what the checkpoint makes of some validation images: masks,
latents and, where the data has true masks, the background. Each finding comes with the numbers that
say so, and with the options that may help. Exit status 0, whatever is found.
"""

import argparse
import dataclasses
import json

from data_pipelines.command_line import Parser, place, whole_number
from experiments.console import program, startup

# What imports JAX or TensorFlow is imported in functions: --help and mistakes do not wait for it.


def parse(argv: list[str]) -> argparse.Namespace:
  """Options; a mistake ends the program with one line and status 2."""
  parser = Parser("experiments.diagnose", __doc__)
  parser.add_argument("--workdir", type=place, required=True, help="folder of the run")
  parser.add_argument("--step", type=whole_number(0), help="checkpoint; default: the newest")
  parser.add_argument(
    "--num_images",
    type=whole_number(0),
    default=64,
    help="validation images to look at; default: 64; 0: only the logged numbers are read",
  )
  parser.add_argument("--data_dir", help="where the data is now, if it has moved since training")
  parser.add_argument(
    "--raw_weights", action="store_true", help="not their average, where the run keeps one"
  )
  parser.add_argument("--json", action="store_true", help="print JSON")
  return parser.parse_args(argv)


@program.entry
def main(argv: list[str]) -> None:
  """Looks, and says what is found."""
  options = parse(argv)
  startup.prepare()
  # JAX and TensorFlow read what `prepare` sets.
  from experiments.diagnosis import looking
  from experiments.stores.addresses import name_of
  from experiments.stores.reading import brought

  with brought(options.workdir, options.step if options.num_images else "none") as workdir:
    result = looking.diagnose(
      workdir, options.step, options.num_images, options.data_dir, options.raw_weights
    )
  rows = len(result.record.rows)
  if options.json:
    content = dict(
      workdir=name_of(workdir),
      rows=rows,
      step=result.step,
      num_images=result.num_images,
      left_out=result.left_out,
      findings=[dataclasses.asdict(finding) for finding in result.findings],
    )
    print(json.dumps(content, indent=2), flush=True)
    return
  model, data = (result.record.config[part]["name"] for part in ("model", "data"))
  print(f"run        {name_of(workdir)}: {model} on {data}")
  print(f"logged     {rows} steps of {name_of(workdir / 'metrics.jsonl')}")
  if result.step is None:
    print(f"left out   masks and latents: {result.left_out}")
  else:
    print(f"images     {result.num_images} of the validation split, checkpoint {result.step}")
  for finding in result.findings:
    print(*finding.lines(), sep="\n")
  if not result.findings:
    print("nothing wrong was found", flush=True)


if __name__ == "__main__":
  program.run(main)
