"""Any model on any data set: `--config=configs/experiment.py:genesis,gqn`.

Published defaults come first, then what the model and the data set say, then `SPECIAL_CASES`.
"""

import difflib

import ml_collections
from ml_collections import config_dict

from configs import datasets, models

# (model, data set) -> fields that differ from the defaults, with their source.
SPECIAL_CASES: dict[tuple[str, str], dict] = {
  # README of the original repository, "NOTE 2": the GENESIS-V2 paper's Sketchy results.
  ("genesis_v2", "sketchy"): {"objective.goal": 0.5645},
}


def _defaults() -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict(
    dict(
      seed=0,
      batch_size=32,  # images per step, over all devices and hosts
      num_steps=500_000,
      steps_per_call=1,  # steps of one compiled program, without returning to the host
      time_limit=config_dict.placeholder(
        object
      ),  # 90s, 9m, 1h30m, seconds; from the program's start
      init_from=config_dict.placeholder(str),  # folder of the run whose weights are taken at first
      optimizer=dict(
        name="adam",  # adam, rmsprop, sgd
        learning_rate=1e-4,  # at its highest
        warmup_steps=0,  # in which it rises
        schedule="constant",  # of the steps after them; linear, cosine: down to 0
        clip_norm=config_dict.placeholder(float),  # greatest norm of the gradient
        ema_decay=config_dict.placeholder(float),  # of a moving average of the weights, evaluated
      ),
      objective=dict(
        geco=True,  # Rezende & Viola 2018; False: constant or warmed-up beta
        # nats per pixel and channel; GENESIS, ICLR 2020; auto: found in the data
        goal=ml_collections.FieldReference(0.5655, field_type=object),
        target_psnr=config_dict.placeholder(float),  # dB; the readable way to set the goal
        step_size=1e-5,  # at 64x64; scaled by 64^2 / image_size^2
        alpha=0.99,  # weight of the past in the moving average of the error
        speedup=10.0,  # on the step size while the error is below the goal
        beta_init=1.0,
        beta_min=1e-10,
        beta_max=1e10,
        beta=0.5,  # weight of the KL without GECO
        beta_warmup=False,  # from 0 over the first fifth of training, without GECO
      ),
      deterministic=False,  # the same bits in every run on GPUs too; slower
      matmul_precision="default",  # default, high, highest: float32 products on GPU and TPU
      compilation_cache=True,  # keep compiled programs in $XDG_CACHE_HOME/genesis_jax
      log_every=100,  # steps
      images_every=5_000,
      validate_every=10_000,
      num_validation_images=10_000,
      num_segmentation_images=320,  # of them, scored against ground-truth instances
      test_images=320,  # scored at the end of training; 0: none
      test_fid_images=10_000,  # in an FID at the end, if the Inception weights are there; 0: none
      checkpoint_every=5_000,
      keep_checkpoints=3,  # newest ones
      keep_every=50_000,  # and every one at these steps; 0: none
      log_distributions=False,  # histograms of posterior and prior means and stds
      log_weights=False,  # histograms of weights and gradients
      trackers=(),  # services that show the run, such as "wandb"
    )
  )


def _check(kind: str, name: str, allowed: list[str]) -> None:
  if name not in allowed:
    near = difflib.get_close_matches(name, allowed, 1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    raise ValueError(f"{kind} is {name!r}; allowed: {sorted(allowed)}{hint}")


def compose(
  model: str | ml_collections.ConfigDict, dataset: str | ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
  """Configuration of one model on one data set.

  Args:
    model: one of `configs.models.names()`, or what `configs.models.own` makes.
    dataset: one of `configs.datasets.DATASETS`, or what `configs.datasets.own` makes.

  Raises:
    ValueError: for an unknown model or data set, naming what is allowed.
  """
  if isinstance(model, str):
    _check("model", model, models.names())
    model = models.options(model)
  if isinstance(dataset, str):
    _check("data set", dataset, list(datasets.DATASETS))
    dataset = datasets.DATASETS[dataset]()
  config = _defaults()
  config.model, config.data = model, dataset
  # One number, two readers: setting either field sets both.
  image_size = config_dict.FieldReference(dataset.image_size)
  config.model.image_size = image_size
  config.data.image_size = image_size
  if "num_slots" in model:
    config.model.num_slots = dataset.num_slots
  del config.data.num_slots  # it is the model's now
  config.update_from_flattened_dict(SPECIAL_CASES.get((model.name, dataset.name), {}))
  return config


def get_config(spec: str = "genesis,gqn") -> ml_collections.ConfigDict:
  """`spec` is "model,dataset", for example "genesis_v2,clevr"."""
  if spec.count(",") != 1:
    raise ValueError(
      f"experiment is {spec!r}; expected model,dataset with model one of {sorted(models.names())} "
      f"and dataset one of {sorted(datasets.DATASETS)}"
    )
  return compose(*spec.split(","))
