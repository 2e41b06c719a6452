"""Scenes drawn from a key, in JAX alone: images, ids of instances and what they were made from."""

from genesis_jax.scenes.clevr import clevr_scene as clevr_scene
from genesis_jax.scenes.clevrtex import clevrtex_scene as clevrtex_scene
from genesis_jax.scenes.rooms import room_scene as room_scene
from genesis_jax.scenes.shelf import shelf_frame as shelf_frame
from genesis_jax.scenes.shelf import shelf_scene as shelf_scene
from genesis_jax.scenes.sprites import sprite_factors as sprite_factors
from genesis_jax.scenes.sprites import sprite_mask as sprite_mask
from genesis_jax.scenes.sprites import sprites_scene as sprites_scene
from genesis_jax.scenes.stacks import stacks_scene as stacks_scene
from genesis_jax.scenes.stacks import stacks_view as stacks_view
from genesis_jax.scenes.stream import SCENES as SCENES
from genesis_jax.scenes.stream import renderer as renderer
from genesis_jax.scenes.stream import scene_batch as scene_batch
from genesis_jax.scenes.stream import stream_key as stream_key
from genesis_jax.scenes.table import table_frames as table_frames
from genesis_jax.scenes.table import table_scene as table_scene
from genesis_jax.scenes.tetrominoes import tetrominoes_scene as tetrominoes_scene
