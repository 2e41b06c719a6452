"""Scenes drawn from a key, in JAX alone: images, ids of instances and what they were made from."""

from genesis_jax.scenes.rooms import room_scene as room_scene
