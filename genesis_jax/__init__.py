"""GENESIS, GENESIS-V2, MONet and VAEs in JAX.

`load` reads a trained run, `build_model` makes a model, `outputs` describes what models return.
"""

from genesis_jax import fid, metrics
from genesis_jax.models import build_model
from genesis_jax.objective import GecoState, geco, geco_state
from genesis_jax.outputs import Latent, Outputs, Samples
from genesis_jax.runs import load
from genesis_jax.torch_files import load_torch
from genesis_jax.torch_names import from_torch, to_torch

__version__ = "0.2.0"

__all__ = [
  "GecoState",
  "Latent",
  "Outputs",
  "Samples",
  "build_model",
  "fid",
  "from_torch",
  "geco",
  "geco_state",
  "load",
  "load_torch",
  "metrics",
  "to_torch",
]
