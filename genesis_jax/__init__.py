"""GENESIS, GENESIS-V2, MONet and VAEs in JAX."""

from genesis_jax import metrics as metrics
from genesis_jax.models import build_model as build_model
from genesis_jax.objective import GecoState as GecoState
from genesis_jax.objective import geco as geco
from genesis_jax.objective import geco_state as geco_state
from genesis_jax.outputs import Latent as Latent
from genesis_jax.outputs import Outputs as Outputs
from genesis_jax.outputs import Samples as Samples
from genesis_jax.runs import load as load
from genesis_jax.torch_names import from_torch as from_torch
from genesis_jax.torch_names import to_torch as to_torch
