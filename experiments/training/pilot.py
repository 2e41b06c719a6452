"""GECO's goal from the data, where `objective.goal` is "auto": the noise floor of some images.

GECO gives the KL all that is left once the error reaches its goal. What a model with a few latents
a slot cannot predict must therefore lie within the goal: noise, and detail as fine as noise. A
pilot reads `NUM_IMAGES` training images and takes the mean variance of the pixels within small
blocks, a 32nd of the image wide. Where images are smooth but for noise, that is the variance of the
noise, which no model gets below; at edges and in textures it is what a picture of 32x32 pixels
lacks. The goal is the error at this mean squared error. Nothing is trained for it, and nothing can
be tuned. At 64x64 it is 24.6 dB on scenes after GQN and Objects Room and 26.0 dB on those after
Multi-dSprites, where the published goal, chosen by hand, is 25 dB. Clean images may have almost no
such variance: `LEAST_MSE` keeps the goal within reach.
"""

import pathlib

import numpy as np

import data_pipelines
from experiments.console.errors import UserError
from experiments.hardware import devices
from experiments.runs import folder
from genesis_jax import objective, runs

NUM_IMAGES = 256
LEAST_MSE = 1e-3  # 30 dB, from where on a reconstruction looks like its image


def noise_floor(images: np.ndarray) -> float:
  """Mean variance within blocks of uint8 images `[N,S,S,3]`, colours in [0, 1]."""
  count, size, _, channels = images.shape
  side = block_side(size)
  blocks = images.reshape(count, size // side, side, size // side, side, channels) / 255
  return float(blocks.var((2, 4), ddof=1).mean())


def block_side(image_size: int) -> int:
  """Pixels a side of the blocks."""
  return max(2, image_size // 32)


def find(config) -> dict:
  """Reads some training images; the goal in nats per pixel and channel, and how it was found.

  Raises:
    data_pipelines.DataError: they cannot be read.
    UserError: there are none.
  """
  stream = data_pipelines.batches(config.data, split="train", batch_size=NUM_IMAGES, epochs=1)
  batch = next(stream, None)
  if batch is None:
    raise UserError(f"the train split of {config.data.name} has no images")
  noise = noise_floor(batch["image"])
  mse, std = max(noise, LEAST_MSE), objective.sharpest_std(config.model)
  # All hosts must find the same number, whatever their processors do to the last digits.
  goal = round(objective.goal_of_mse(mse, std), 6)
  side, psnr = block_side(config.model.image_size), -10 * float(np.log10(mse))
  words = (
    f"{goal:.5f}, from the variance {noise:.2g} within blocks of {side}x{side} pixels of "
    f"{len(batch['image'])} training images"
  )
  if noise < LEAST_MSE:
    words += f", taken as {LEAST_MSE:g}"
  return dict(goal=goal, noise=noise, psnr=psnr, num_images=len(batch["image"]), words=words)


def settled(config, workdir: pathlib.Path):
  """The configuration with a number as GECO's goal: what this run found, now or when it began.

  Raises:
    data_pipelines.DataError: images cannot be read.
    UserError: there are none, or the run began with another goal.
  """
  if not objective.follows_data(config.objective):
    return config
  if not runs.checkpoint_steps(workdir):
    found = find(config)
    if devices.is_main_host():
      folder.note_beginning(workdir, "goal", found)
      print(f"goal       {found['words']} ({found['psnr']:.1f} dB)", flush=True)
  elif (found := folder.read_json(workdir / folder.BEGINNING).get("goal")) is None:
    raise UserError(
      f'objective.goal is "auto", but the run in {workdir} was not begun with it; choose another '
      "--workdir"
    )
  config = config.copy_and_resolve_references()
  with config.ignore_type():  # a number in place of a word
    config.objective.goal = found["goal"]
  return config
