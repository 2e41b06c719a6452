"""What a resumed run may change: some things always, some only when named.

  of_config(saved, origin, {"optimizer.learning_rate"}, workdir)
  of_data(saved, origin, files, accepted, workdir)

Origins are those of `checkpoints.origin_of`.
"""

import json
import pathlib
from collections.abc import Collection

from flax import traverse_util

from data_pipelines.datasets import inventory
from experiments.console.errors import UserError
from experiments.runs import folder
from genesis_jax import runs
from genesis_jax.objective import AUTO

# Fields that a resumed run may change. Any other makes it another experiment, ...
MAY_CHANGE = (
  "deterministic",
  "num_steps",
  "steps_per_call",
  "time_limit",
  "matmul_precision",
  "compilation_cache",
  "log_every",
  "images_every",
  "validate_every",
  "num_validation_images",
  "num_segmentation_images",
  "test_images",
  "test_fid_images",
  "checkpoint_every",
  "keep_checkpoints",
  "keep_every",
  "log_distributions",
  "log_weights",
  "trackers",
  "data.cache_gb",
  "data.data_dir",  # the same data may lie elsewhere; what is there is compared
  "data.module",  # so may the code of its reader,
  "model.module",  # and that of a model, whose arrays are compared
)
# ... except these, when named: a run that diverged may continue with another learning rate, and one
# whose learning rate or beta follows a schedule over num_steps may have another number of them.
MAY_CHANGE_WHEN_TOLD = (
  "batch_size", "num_steps", "seed", "optimizer.learning_rate", "optimizer.clip_norm", "objective.",
)  # fmt: skip


def flat(tree: dict) -> dict:
  """Nested dictionaries as one: {"a": {"b": 1}} -> {"a.b": 1}."""
  return traverse_util.flatten_dict(tree, sep=".")


def keep_order(config, workdir: pathlib.Path) -> None:
  """Lets a run that has no `data.order` yet go on in the order of images that it began with."""
  data = folder.read_json(workdir / "config.json").get("data")
  if data is not None and "order" not in data:
    config.data.order = runs.AS_BEFORE["data.order"]


def check_told(names: Collection[str], config) -> None:
  """Raises UserError unless a resumed run may change these fields when named."""
  known = flat(json.loads(config.to_json_best_effort()))
  for name in names:
    if name not in known or not name.startswith(MAY_CHANGE_WHEN_TOLD):
      raise UserError(
        f"--change={name}: a resumed run may change {', '.join(MAY_CHANGE_WHEN_TOLD[:-1])} and the "
        "fields of objective when named; others must stay as they are, or need not be named"
      )


def differences(saved: dict, current: dict) -> dict[str, str]:
  """Fields in which two origins must not differ unless named: name -> "saved -> current"."""
  may_change = set(MAY_CHANGE)
  objective = current["config"]["objective"]
  if objective["geco"]:
    may_change |= {"objective.beta", "objective.beta_warmup"}  # nothing reads them
    if objective.get("goal") == AUTO:
      may_change.add("objective.goal")  # it is the number that the run found
  elif objective["beta_warmup"]:
    may_change.remove("num_steps")  # beta rises over a part of them
  if current["config"].get("optimizer", {}).get("schedule", "constant") != "constant":
    may_change.discard("num_steps")  # the learning rate falls over all of them
  old = flat(saved["config"]) | flat({"source": saved["source"]})
  new = flat(current["config"]) | flat({"source": current["source"]})
  changed = {}
  for name in sorted((old.keys() | new.keys()) - may_change):
    as_before = runs.AS_BEFORE.get(name, "absent")
    values = old.get(name, as_before), new.get(name, as_before)
    if values[0] != values[1]:
      changed[name] = f"{values[0]!r} -> {values[1]!r}"
  return changed


def differences_of_settings(saved: dict, current: dict) -> dict[str, str]:
  """`differences` of two configurations, whatever data they find."""
  return differences({"config": saved, "source": {}}, {"config": current, "source": {}})


def of_config(
  saved: dict, current: dict, told: Collection[str], workdir: pathlib.Path
) -> list[str]:
  """What differs between two origins and had to be named, in words.

  Raises:
    UserError: something differs that was not named.
  """
  changed = differences(saved, current)
  if refused := [name for name in changed if name not in told]:
    words = "; ".join(f"{name}: {changed[name]}" for name in refused)
    advice = ""
    if all(name.startswith(MAY_CHANGE_WHEN_TOLD) for name in refused):
      advice = f"; or resume anyway, with --change={','.join(refused)}"
    raise UserError(
      f"{workdir} holds another experiment; choose another --workdir, or undo "
      f"(saved -> given): {words}{advice}"
    )
  return [f"{name}: {values}" for name, values in changed.items()]


def of_data(
  saved: dict, current: dict, files: dict[str, int], accepted: bool, workdir: pathlib.Path
) -> str | None:
  """How the files of the data differ between two origins, in words; None if they do not.

  Args:
    saved, current: the origins; older ones do not tell.
    files: `inventory.taken` of the current one.
    accepted: whether they may differ.
    workdir: of the run.

  Raises:
    UserError: they differ, and may not.
  """
  then, now = saved.get("files"), current.get("files")
  if then is None or now is None or then == now:
    return None
  words = ", ".join(
    f"{count['files']} files of {count['bytes']:,} bytes {when}"
    for count, when in ((then, "then"), (now, "now"))
  )
  listed = folder.read_json(workdir / folder.DATA_FILES)
  if listed.get("digest") == then["digest"]:
    words += f": {inventory.difference(listed, files)}"
  if not accepted:
    raise UserError(
      f"the data is not what the run in {workdir} was trained on: {words}; put it back, "
      "choose another --workdir, or resume anyway with --accept_data_change"
    )
  return words
