"""Names and layouts of the original's PyTorch checkpoints, and conversion both ways.

Each model has one list of entries, (our path, original name, layout); parameters correspond one to
one, and converting only moves and transposes numbers.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import numpy as np

from genesis_jax.models import VAE, Genesis, GenesisV2, MONet
from genesis_jax.models.common import Model

# Buffers that carry no information: `to_torch` writes those that loading needs.
IGNORED = ("num_batches_tracked", "std", "pixel_coords")

# Parts of names as they were before GENESIS-V2 came to the original, and as they are since.
FORMER_NAMES = (
  (re.compile(r"(\.core\.(?:down|up)\.\d+)\.conv\."), r"\1.0."),
  (re.compile(r"(\.core\.(?:down|up)\.\d+)\.instance_norm\."), r"\1.1."),
)


class Layout(NamedTuple):
  """How an array of the original becomes ours, and back."""

  from_torch: Callable
  to_torch: Callable


SAME = Layout(np.asarray, np.asarray)
DENSE = Layout(np.transpose, np.transpose)  # [out, in] <-> [in, out]
CONV = Layout(  # [out, in, h, w] <-> [h, w, in, out]
  lambda x: np.transpose(x, (2, 3, 1, 0)), lambda x: np.transpose(x, (3, 2, 0, 1))
)
CONV_TRANSPOSE = Layout(  # [in, out, h, w] <-> [h, w, in, out]
  lambda x: np.transpose(x, (2, 3, 0, 1)), lambda x: np.transpose(x, (2, 3, 0, 1))
)


def _flat_order(channels: int, side: int) -> np.ndarray:
  """Index in the original's (channel, row, column) order of each of our (row, column, channel)."""
  index = np.arange(channels * side * side).reshape(channels, side, side)
  return index.transpose(1, 2, 0).ravel()


def dense_after_flatten(channels: int, side: int) -> Layout:
  """Kernel of a dense layer on a flattened feature map."""
  order = _flat_order(channels, side)
  return Layout(lambda x: x[:, order].T, lambda x: x.T[:, np.argsort(order)])


def dense_before_reshape(channels: int, side: int) -> Layout:
  """Kernel of a dense layer whose output becomes a feature map."""
  order = _flat_order(channels, side)
  return Layout(lambda x: x[order].T, lambda x: x.T[np.argsort(order)])


def bias_before_reshape(channels: int, side: int) -> Layout:
  """Bias of such a layer."""
  order = _flat_order(channels, side)
  return Layout(lambda x: x[order], lambda x: x[np.argsort(order)])


class Entry(NamedTuple):
  """One array: where we keep it, what the original calls it, and its layouts."""

  path: str  # "params/..." or "batch_stats/..."
  name: str
  layout: Layout


def _weighted(path: str, name: str, layout: Layout, bias: bool = True) -> list[Entry]:
  entries = [Entry(f"params/{path}/kernel", f"{name}.weight", layout)]
  if bias:
    entries.append(Entry(f"params/{path}/bias", f"{name}.bias", SAME))
  return entries


def _norm(path: str, name: str, kind: str) -> list[Entry]:
  if kind == "none":
    return []
  entries = [
    Entry(f"params/{path}/scale", f"{name}.weight", SAME),
    Entry(f"params/{path}/bias", f"{name}.bias", SAME),
  ]
  if kind == "bn":
    entries += [
      Entry(f"batch_stats/{path}/mean", f"{name}.running_mean", SAME),
      Entry(f"batch_stats/{path}/var", f"{name}.running_var", SAME),
    ]
  return entries


def _gated(path: str, name: str, layout: Layout, norm: str) -> list[Entry]:
  """Six gated convolutions; the full-image one (last of an encoder, first of a decoder) is bare."""
  bare = 5 if layout is CONV else 0
  entries = []
  for i in range(6):
    ours, theirs = f"{path}/gated_{i}", f"{name}.{i}"
    entries += _weighted(f"{ours}/conv", f"{theirs}.conv", layout)
    for half in ("h_norm", "g_norm"):
      kind = "none" if i == bare else norm
      entries += _norm(f"{ours}/{half}/norm", f"{theirs}.{half}", kind)
  return entries


def _gated_decoder(path: str, name: str, out_name: str, norm: str) -> list[Entry]:
  return _gated(path, name, CONV_TRANSPOSE, norm) + _weighted(f"{path}/out", out_name, CONV)


def _gaussian_head(path: str, name: str) -> list[Entry]:
  return _weighted(f"{path}/mean", f"{name}.q_z_mean", DENSE) + _weighted(
    f"{path}/std", f"{name}.q_z_var.0", DENSE
  )


def _lstm(path: str, name: str) -> list[Entry]:
  return [
    Entry(f"params/{path}/kernel_in", f"{name}.weight_ih_l0", DENSE),
    Entry(f"params/{path}/kernel_rec", f"{name}.weight_hh_l0", DENSE),
    Entry(f"params/{path}/bias_in", f"{name}.bias_ih_l0", SAME),
    Entry(f"params/{path}/bias_rec", f"{name}.bias_hh_l0", SAME),
  ]


def _prior(path: str) -> list[Entry]:
  return _lstm(f"{path}/lstm", "prior_lstm") + _weighted(f"{path}/linear", "prior_linear", DENSE)


def _broadcast_decoder(path: str, name: str, layers: int) -> list[Entry]:
  entries = _weighted(f"{path}/out", f"{name}.seq.{2 * layers + 1}", CONV)
  for i in range(layers):
    entries += _weighted(f"{path}/conv_{i}", f"{name}.seq.{2 * i + 1}", CONV)
  return entries


def _component_vae(model: Genesis | MONet) -> list[Entry]:
  ours, theirs = "component_vae", "comp_vae"
  if getattr(model, "component_symmetric", False):
    decoder = f"{theirs}.decoder_module"
    return _gated(
      f"{ours}/encoder", f"{theirs}.encoder_module.0", CONV, model.encoder_norm
    ) + _gated_decoder(f"{ours}/decoder", f"{decoder}.1", f"{decoder}.2", model.decoder_norm)
  encoder = f"{theirs}.encoder_module.module"
  flatten = dense_after_flatten(2 * model.component_encoder_channels, model.image_size // 16)
  entries = _weighted(f"{ours}/encoder/dense_0", f"{encoder}.9", flatten)
  entries += _weighted(f"{ours}/encoder/dense_1", f"{encoder}.11", DENSE)
  for i in range(4):
    entries += _weighted(f"{ours}/encoder/conv_{i}", f"{encoder}.{2 * i}", CONV)
  layers = model.component_decoder_layers
  return entries + _broadcast_decoder(f"{ours}/decoder", f"{theirs}.decoder_module", layers)


def _conv_norm(path: str, name: str) -> list[Entry]:
  return _weighted(f"{path}/conv", f"{name}.0", CONV, bias=False) + _norm(
    f"{path}/norm/norm", f"{name}.1", "in"
  )


def _unet(path: str, name: str, channels: int, image_size: int) -> list[Entry]:
  levels = image_size.bit_length() - 2
  entries = []
  for i in range(levels):
    entries += _conv_norm(f"{path}/down_{i}", f"{name}.down.{i}")
    entries += _conv_norm(f"{path}/up_{i}", f"{name}.up.{i}")
  bottom = (2 * channels, 4)  # channels and side
  return entries + [
    *_weighted(f"{path}/dense_0", f"{name}.mlp.1", dense_after_flatten(*bottom)),
    *_weighted(f"{path}/dense_1", f"{name}.mlp.3", DENSE),
    Entry(f"params/{path}/dense_2/kernel", f"{name}.mlp.5.weight", dense_before_reshape(*bottom)),
    Entry(f"params/{path}/dense_2/bias", f"{name}.mlp.5.bias", bias_before_reshape(*bottom)),
  ]


def _genesis(model: Genesis) -> list[Entry]:
  if model.num_slots == 1:
    return _component_vae(model)
  core = "att_process.core"
  entries = _gated("attention/encoder", f"{core}.q_z_nn", CONV, model.encoder_norm)
  entries += _gaussian_head("attention/first", core)
  entries += _gated_decoder(
    "attention/decoder", f"{core}.p_x_nn", f"{core}.p_x_mean", model.decoder_norm
  )
  entries += _lstm("attention/lstm", "att_process.lstm")
  entries += _weighted("attention/linear", "att_process.linear", DENSE)
  if model.autoregressive_prior:
    entries += _prior("mask_prior")
  if not model.two_stage:
    return entries + _broadcast_decoder("decoder", "decoder", model.component_decoder_layers)
  if model.component_prior:
    for i in range(3):
      entries += _weighted(f"component_latent_prior/dense_{i}", f"prior_mlp.{2 * i}", DENSE)
  return entries + _component_vae(model)


def _genesis_v2(model: GenesisV2) -> list[Entry]:
  colour = "att_process.colour_head"
  entries = _unet("encoder", "encoder", min(model.feature_dim, 64), model.image_size)
  entries += _conv_norm("segmentation_head", "seg_head")
  entries += [Entry("params/attention/log_sigma", "att_process.log_sigma", SAME)]
  if model.semiconv:
    entries += _weighted("attention/colour", f"{colour}.conv", CONV)
    entries += [Entry("params/attention/gate", f"{colour}.gate.gate", SAME)]
  else:
    entries += _weighted("attention/colour", colour, CONV)
  entries += _conv_norm("slot_head/block", "feat_head.0")
  entries += _weighted("slot_head/project", "feat_head.1", CONV)
  entries += _norm("slot_head/norm", "z_head.0", "ln")
  entries += _weighted("slot_head/dense_0", "z_head.1", DENSE)
  entries += _weighted("slot_head/dense_1", "z_head.3", DENSE)
  for i in range(4):
    first = 3 * i + 1
    entries += _weighted(f"decoder/conv_{i}", f"decoder_module.{first}", CONV_TRANSPOSE)
    entries += _norm(f"decoder/norm_{i}/norm", f"decoder_module.{first + 1}", "gn")
  entries += _weighted("decoder/out", "decoder_module.13", CONV)
  return entries + (_prior("prior") if model.has_learned_prior else [])


def _monet(model: MONet) -> list[Entry]:
  core = "att_process.core"
  entries = _unet("attention/core", core, model.unet_channels, model.image_size)
  entries += _weighted("attention/core/out", f"{core}.final_conv", CONV)
  return entries + _component_vae(model)


def _vae(model: VAE) -> list[Entry]:
  entries = _gated("encoder", "vae.q_z_nn", CONV, "none") + _gaussian_head("posterior", "vae")
  if not model.broadcast_decoder:
    return entries + _gated_decoder("decoder", "vae.p_x_nn", "vae.p_x_mean", "none")
  entries += _broadcast_decoder("decoder/broadcast", "vae.p_x_nn.1", 4)
  return entries + _weighted("decoder/out", "vae.p_x_mean", CONV)


ENTRIES = {Genesis: _genesis, GenesisV2: _genesis_v2, MONet: _monet, VAE: _vae}


def entries(model: Model) -> list[Entry]:
  """Every array of a model, with the original's name and layout.

  Raises:
    ValueError: the original has no such model.
  """
  if type(model) not in ENTRIES:
    known = ", ".join(kind.__name__ for kind in ENTRIES)
    raise ValueError(f"the original has no {type(model).__name__}; it has {known}")
  return ENTRIES[type(model)](model)


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
  """Path -> shape of every array of a model."""
  size = model.image_size
  images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  init = lambda key, x: model.init({"params": key, "noise": key}, x, train=False)  # noqa: E731
  variables = jax.eval_shape(init, key, images)
  return {path: x.shape for path, x in flax.traverse_util.flatten_dict(variables, sep="/").items()}


def _is_ignored(name: str) -> bool:
  return name.rsplit(".", 1)[-1] in IGNORED or "pixel_coords" in name


def present_names(state_dict: Any) -> dict[str, np.ndarray]:
  """A state dict of any version of the original, in its order, with the names of the newest.

  Raises:
    ValueError: if it is not a dictionary of names.
  """
  if not isinstance(state_dict, Mapping) or not all(isinstance(name, str) for name in state_dict):
    kind = type(state_dict).__name__
    raise ValueError(f"state dict is a {kind}; allowed: a dictionary from names to arrays")
  renamed = {}
  for name, value in state_dict.items():
    for former, present in FORMER_NAMES:
      name = former.sub(present, name)
    renamed[name] = value
  return renamed


def _number_array(name: str, value) -> np.ndarray:
  try:
    return np.asarray(value, np.float32)
  except (TypeError, ValueError) as error:
    raise ValueError(f"entry {name!r} is a {type(value).__name__}, not an array") from error


def _convert(model: Model, wanted: list[Entry], state_dict: Any) -> dict:
  """The arrays of `wanted`, nested by path; raises as `from_torch` does."""
  state_dict = present_names(state_dict)
  state_dict = {name: value for name, value in state_dict.items() if not _is_ignored(name)}
  shapes, flat = _shapes(model), {}
  for path, name, layout in wanted:
    if name not in state_dict:
      raise ValueError(f"checkpoint has no entry {name!r}, which this model needs")
    value = _number_array(name, state_dict.pop(name))
    expected = layout.to_torch(np.broadcast_to(np.float32(0), shapes[path])).shape
    if value.shape != expected:
      raise ValueError(f"entry {name!r} has shape {value.shape}, but this model needs {expected}")
    flat[path] = np.asarray(layout.from_torch(value), order="C")
  if state_dict:
    raise ValueError(f"checkpoint has entries that this model lacks: {sorted(state_dict)[:5]}")
  return flax.traverse_util.unflatten_dict(flat, sep="/")


def from_torch(model: Model, state_dict: Any) -> dict:
  """Variables of `model`, in the structure of `model.init`, from the original's state dict.

  Args:
    model: of `build_model`.
    state_dict: name -> array, of any version of the original.

  Raises:
    ValueError: naming the entry that is missing, left over or misshapen.
  """
  return _convert(model, entries(model), state_dict)


def _parameters(model: Model) -> list[Entry]:
  return [entry for entry in entries(model) if entry.path.startswith("params/")]


def parameter_names(model: Model, state_dict: Any) -> list[str]:
  """The original's names of the parameters (not buffers) of a state dict, in its order.

  That is the order of PyTorch's `model.parameters()`, by which optimizers number their state.
  """
  names = {entry.name for entry in _parameters(model)}
  return [name for name in present_names(state_dict) if name in names]


def params_from_torch(model: Model, arrays: Mapping[str, np.ndarray]) -> dict:
  """A tree like `params` of one array per parameter, such as an optimizer's moments.

  Raises:
    ValueError: naming the entry that is missing, left over or misshapen.
  """
  return _convert(model, _parameters(model), arrays)["params"]


def _buffers(model: Model) -> dict[str, np.ndarray]:
  """What the original stores beside its weights, and asks for when it loads."""
  if not isinstance(model, Genesis | MONet):
    return {}
  std = np.full((1, 1, 1, 1, model.num_slots), model.pixel_std, np.float32)
  std[..., 0] = model.pixel_std_first
  return {"std": std}


def to_torch(model: Model, variables: Mapping) -> dict[str, np.ndarray]:
  """The original's state dict of `variables`, which its `load_state_dict` takes as it is.

  `from_torch` is the exact reverse. Parts that are missing from `variables` (such as batch_stats,
  for gradients) are left out.
  """
  flat = flax.traverse_util.flatten_dict(dict(variables), sep="/")
  return _buffers(model) | {
    name: np.asarray(layout.to_torch(np.asarray(flat[path])), order="C")
    for path, name, layout in entries(model)
    if path in flat
  }
