"""Names and allowed values of the models' options, under our names and the original's.

Released checkpoints of the original come with a `flags.json` in which every flag of its training
program stands beside those of the model; that file is accepted unchanged.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from genesis_jax.models.common import Model

# Original flag -> field.
ORIGINAL_NAMES = {
  "img_size": "image_size",
  "K_steps": "num_slots",
  "autoreg_prior": "autoregressive_prior",
  "comp_prior": "component_prior",
  "attention_latents": "mask_latent_dim",
  "enc_norm": "encoder_norm",
  "dec_norm": "decoder_norm",
  "comp_enc_channels": "component_encoder_channels",
  "comp_ldim": "component_latent_dim",
  "comp_dec_channels": "component_decoder_channels",
  "comp_dec_layers": "component_decoder_layers",
  "comp_symmetric": "component_symmetric",
  "pixel_std1": "pixel_std_first",
  "pixel_std2": "pixel_std",
  "montecarlo_kl": "monte_carlo_kl",
  "feat_dim": "feature_dim",
  "dynamic_K": "dynamic_slots",
  "klm_loss": "mask_kl_loss",
  "detach_mr_in_klm": "detach_recon_masks",
  "filter_start": "unet_channels",
  "prior_mode": "mask_prior",
  "latent_dimension": "latent_dim",
}

# Flags of the original's training program and data sets, in all its versions, and what its
# experiment library adds: no part of a model.
OTHER_FLAGS = frozenset(
  "data_config model_config results_dir run_name report_loss_every run_validation_every "
  "log_images_every num_checkpoints resume log_grads_and_weights log_distributions train_iter "
  "batch_size optimiser learning_rate N_eval beta beta_warmup geco g_goal g_lr g_alpha g_init "
  "g_min g_speedup gpu multi_gpu debug seed git_commit data_folder unique_colours load_instances "
  "num_workers mem_map dataset dataset_size buffer_size val_frac split_name shuffle_test "
  "copy_to_tmp".split()
)

# Flag that the original's code reads but none of its versions defines -> the value used here.
FIXED_FLAGS = {"input_channels": 3}

ORIGINAL_MODELS = {"genesisv2": "genesis_v2"}


def closest(name: str, names) -> str:
  """A hint at the nearest of `names`, or an empty string."""
  near = difflib.get_close_matches(name, names, 1)
  return f'; did you mean "{near[0]}"?' if near else ""


def translate(config: Mapping[str, Any], fields) -> tuple[Any, dict[str, Any]]:
  """(model name, options) in our names.

  Args:
    config: options in our names or the original's.
    fields: all options of all models.

  Raises:
    ValueError: for an option that no model has, or one given twice with different values.
  """
  config = dict(config)
  name = config.pop("name", None) or config.pop("model", None)
  if name is None and "model_config" in config:  # such as models/genesis_config.py
    name = str(config["model_config"]).split("/")[-1].removesuffix(".py").removesuffix("_config")
  options = {}
  for given, value in config.items():
    if given in OTHER_FLAGS:
      continue
    if given in FIXED_FLAGS:
      if value != FIXED_FLAGS[given]:
        raise ValueError(f"model.{given} is {value!r}; allowed: {FIXED_FLAGS[given]}")
      continue
    field = ORIGINAL_NAMES.get(given, given)
    value = value.item() if isinstance(value, np.generic) else value
    if field not in fields:
      hint = closest(given, [*fields, *ORIGINAL_NAMES])
      raise ValueError(f"model.{given} = {value!r} is not a model option{hint or ''}; "
                       f"allowed: {sorted(fields)}")  # fmt: skip
    if given in ("img_size", "K_steps") and value == -1:
      raise ValueError(f"{given} is -1, in the original: what the data set has; give {field}")
    if field in options and options[field] != value:
      raise ValueError(f"model.{field} is given twice, as {options[field]!r} and {value!r}")
    options[field] = value
  return ORIGINAL_MODELS.get(str(name), name), options


def check(name: str, model: type[Model], options: Mapping[str, Any], defaults: Mapping[str, Any]):
  """Checks all options of a model against their allowed values and the defaults' types.

  Raises:
    ValueError: naming field, value and what is allowed.
  """
  for field, value in options.items():
    choices = (model.CHOICES | {"dtype": ("bfloat16", "float32")}).get(field)
    if choices and value not in choices:
      raise ValueError(f"model.{field} is {value!r}; allowed: {list(choices)}")
    default = defaults[field]
    if isinstance(default, bool):
      if not isinstance(value, bool):
        raise ValueError(f"model.{field} is {value!r}; allowed: true or false")
    elif isinstance(default, int):
      if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"model.{field} is {value!r}; allowed: whole numbers from 1")
    elif isinstance(default, float) and not (
      isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    ):
      raise ValueError(f"model.{field} is {value!r}; allowed: numbers above 0")
  if options["image_size"] not in model.IMAGE_SIZES:
    raise ValueError(
      f"model.image_size is {options['image_size']}; allowed for {name}: {list(model.IMAGE_SIZES)}"
    )
  model.check_combination(options)
