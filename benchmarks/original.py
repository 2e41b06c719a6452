"""The original's PyTorch models, from a checkout of its repository, and their training step.

  case = OriginalCase(checkout, config)      # config: one of ours, whose flags the model gets
  case.call()                                # one step; returns something to wait for

The checkout is not changed. Its models are built by its own code and trained as in its `train.py`:
GECO or a constant beta, its optimizer, float32, with PyTorch's settings as it leaves them, on a GPU
where there is one. What its files import beside PyTorch only reads flags and writes logs; where it
is not installed (Forge and TensorFlow 1 rarely are), stand-ins take its place.
"""

import contextlib
import importlib
import pathlib
import sys
import types
from unittest import mock

import numpy as np

from experiments.console.errors import UserError
from experiments.runs.original_runs import TRAINING
from genesis_jax.models.options import ORIGINAL_MODELS, ORIGINAL_NAMES
from genesis_jax.objective import goal_per_element

FILES = {"genesis": "genesis", "monet": "monet", "vae": "vae"} | {
  ours: theirs for theirs, ours in ORIGINAL_MODELS.items()
}
PACKAGES = ("models", "modules", "third_party", "utils")  # of the checkout
NOT_USED = ("tensorflow", "simplejson", "sklearn.metrics", "forge.experiment_tools")


class _Attributes(dict):
  """A dictionary whose items are attributes too."""

  __setattr__ = dict.__setitem__

  def __getattr__(self, name):
    if name in self:
      return self[name]
    raise AttributeError(name)


class _Anything(types.ModuleType):
  """A module from which any name can be imported, and none used."""

  def __getattr__(self, name):
    if name.startswith("__"):
      raise AttributeError(name)
    return mock.sentinel


def _flag_module(defaults: dict) -> types.ModuleType:
  """Forge's `flags`: definitions are collected in `defaults`."""
  flags = types.ModuleType("forge.flags")
  for kind in ("string", "integer", "float", "boolean", "bool", "list"):
    setattr(flags, f"DEFINE_{kind}", lambda name, value, *_: defaults.setdefault(name, value))
  return flags


@contextlib.contextmanager
def _importable(checkout: pathlib.Path, defaults: dict):
  """Lets the checkout's files be imported; forgets them afterwards."""
  forge, attributes = types.ModuleType("forge"), types.ModuleType("attrdict")
  forge.flags = _flag_module(defaults)
  attributes.AttrDict = _Attributes
  modules = {"forge": forge, "forge.flags": forge.flags, "attrdict": attributes}
  modules |= {name: _Anything(name) for name in NOT_USED}
  with mock.patch.dict(sys.modules, modules), mock.patch.object(sys, "path", [*sys.path]):
    sys.path.insert(0, str(checkout))
    for name in [n for n in sys.modules if n.split(".")[0] in PACKAGES]:
      del sys.modules[name]
    yield


def _flags(config, defaults: dict) -> _Attributes:
  """The original's flags of one of our configurations."""
  names = {field: flag for flag, field in ORIGINAL_NAMES.items()}
  ours = dict(config.model)  # some models share our names, as the VAE's pixel_std
  theirs = {names[field]: value for field, value in ours.items() if field in names}
  return _Attributes(defaults | dict(debug=False, multi_gpu=False) | ours | theirs)


class OriginalCase:
  """A model of the original, with its optimizer and a batch on its device.

  Args:
    checkout: folder of the original's repository.
    config: of an experiment of ours.

  Raises:
    UserError: PyTorch is not installed, or the folder is not such a checkout.
  """

  def __init__(self, checkout: pathlib.Path, config):
    try:
      import torch
    except ImportError:
      raise UserError("--original needs PyTorch; pip install torch") from None
    name = FILES[config.model.name]
    if not (checkout / "models" / f"{name}_config.py").is_file():
      raise UserError(
        f"--original={checkout} has no models/{name}_config.py; it is to be a checkout of "
        "https://github.com/applied-ai-lab/genesis"
      )
    self.config, self.steps = config, 1
    self._device = "cuda" if torch.cuda.is_available() else "cpu"
    defaults: dict = {}
    torch.manual_seed(0)
    torch.backends.cudnn.deterministic = True  # as its train.py sets them
    torch.backends.cudnn.benchmark = False
    with _importable(checkout, defaults), torch.device(self._device):
      module = importlib.import_module(f"models.{name}_config")
      geco = importlib.import_module("utils.geco").GECO
      self.model = module.load(_flags(config, defaults)).to(self._device)
    self._default_device = torch.device(self._device)
    self._optimizer = _optimizer(torch, self.model, config)
    self._geco = _geco(geco, config, self._device)
    side = config.model.image_size
    images = np.random.default_rng(0).random((config.batch_size, 3, side, side), np.float32)
    self._images = torch.from_numpy(images).to(self._device)

  def losses(self):
    """(mean error, mean KL) of the batch, as the original's training computes them; nats."""
    import torch

    _, losses, *_ = self.model(self._images)
    kl = 0
    for name in ("kl_m", "kl_l"):
      if name in losses:
        kl = kl + losses[name].mean(0)
      elif f"{name}_k" in losses:
        kl = kl + torch.stack(losses[f"{name}_k"], dim=1).mean(dim=0).sum()
    return losses["err"].mean(0), kl

  def call(self):
    """Does one step; returns something to wait for."""
    with self._default_device:  # where its code makes tensors
      self._optimizer.zero_grad()
      err, kl = self.losses()
      loss = self._geco.loss(err, kl) if self._geco else err + self.config.objective.beta * kl
      loss.backward()
      self._optimizer.step()
    return _Loss(loss.detach())

  def row(self, seconds: float, *_) -> tuple:
    """Steps and images per second; what else `train_step.Case` tells is not known of it."""
    return 1 / seconds, self.config.batch_size / seconds

  def compile(self) -> None:
    """Lets PyTorch's compiler take the model."""
    import torch

    self.model = torch.compile(self.model)


class _Loss:
  """A number on PyTorch's device, that `jax.block_until_ready` waits for."""

  def __init__(self, value):
    self._value = value

  def block_until_ready(self):
    self._value.item()
    return self


def _optimizer(torch, model, config):
  rules = {
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, rate, 0.9),
  }
  return rules[config.optimizer.name](model.parameters(), config.optimizer.learning_rate)


def _geco(kind: type, config, device: str):
  """The original's GECO with our settings, or None."""
  if not config.objective.geco:
    return None
  values = {
    flag: config.objective[field.removeprefix("objective.")]
    for flag, field in TRAINING.items()
    if flag.startswith("g_")
  }
  side = config.model.image_size
  geco = kind(
    goal_per_element(config.objective, config.model) * 3 * side**2,
    values["g_lr"] * 64**2 / side**2,
    values["g_alpha"], values["g_init"], values["g_min"], values["g_speedup"],
  )  # fmt: skip
  if device == "cuda":
    geco.to_cuda()
  return geco
