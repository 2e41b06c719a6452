"""What each model is made of: one function per model, published values as defaults.

The fields are those of `genesis_jax.build_model`. `image_size` and `num_slots` are filled in by
`configs.experiment.compose`, where they are shared with the data.
"""

import ml_collections

DTYPES = ("float32", "bfloat16")  # of activations


def check(config) -> None:
  """Checks what is known without the library, which takes seconds to import.

  Raises:
    ValueError: naming field, value and what is allowed.
  """
  if config.get("name") not in MODELS:
    raise ValueError(f"model.name is {config.get('name')!r}; allowed: {sorted(MODELS)}")
  if config.get("dtype", DTYPES[0]) not in DTYPES:
    raise ValueError(f"model.dtype is {config.dtype!r}; allowed: {sorted(DTYPES)}")


def _pixels() -> dict:
  return dict(
    pixel_bound=True,  # sigmoid on appearances
    pixel_std_first=0.7,  # of the first slot, in units of [0, 1] intensity
    pixel_std=0.7,  # of the others
  )


def _component_vae() -> dict:
  return dict(
    component_encoder_channels=32,
    component_latent_dim=16,
    component_decoder_channels=32,
    component_decoder_layers=4,
  )


def genesis() -> ml_collections.ConfigDict:
  """GENESIS (ICLR 2020)."""
  return ml_collections.ConfigDict(
    dict(
      name="genesis",
      two_stage=True,  # False: GENESIS-S, appearances from the mask latents
      autoregressive_prior=True,
      component_prior=True,
      mask_latent_dim=64,
      encoder_norm="bn",  # bn, in, none
      decoder_norm="bn",
      component_symmetric=False,  # gated encoder and decoder for the components too
      dtype="float32",  # or bfloat16: activations only
      **_component_vae(),
      **_pixels(),
    )
  )


def genesis_v2() -> ml_collections.ConfigDict:
  """GENESIS-V2 (NeurIPS 2021)."""
  return ml_collections.ConfigDict(
    dict(
      name="genesis_v2",
      autoregressive_prior=True,
      feature_dim=64,
      kernel="gaussian",  # laplacian, gaussian, epanechnikov
      semiconv=True,
      dynamic_slots=False,
      mask_kl_loss=False,
      detach_recon_masks=True,
      dtype="float32",
      **_pixels(),
    )
  )


def monet() -> ml_collections.ConfigDict:
  """MONet with the hyperparameters of the GENESIS paper (ICLR 2020, appendix)."""
  return ml_collections.ConfigDict(
    dict(
      name="monet",
      unet_channels=32,
      mask_prior="softmax",  # softmax, scope
      monte_carlo_kl=True,
      dtype="float32",
      **_component_vae(),
      **_pixels(),
    )
  )


def vae() -> ml_collections.ConfigDict:
  """Baseline VAE; `broadcast_decoder=True` for the spatial broadcast decoder."""
  pixels = _pixels()
  del pixels["pixel_std_first"]
  return ml_collections.ConfigDict(
    dict(name="vae", latent_dim=64, broadcast_decoder=False, dtype="float32", **pixels)
  )


MODELS = {"genesis": genesis, "genesis_v2": genesis_v2, "monet": monet, "vae": vae}
