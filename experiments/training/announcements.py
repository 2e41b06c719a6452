"""What a run prints: before training, what it will do; after it, the results."""

import importlib.util
import pathlib
import shlex

import jax
import numpy as np
from absl import logging

from experiments.console.errors import UserError, one_line
from experiments.console.program import command
from experiments.hardware import devices
from experiments.reporting import page
from experiments.runs import folder
from experiments.scoring.scores import LINE, named
from experiments.training import final_scores
from genesis_jax import objective


def _psnr(goal: float, config) -> float:
  """PSNR in dB at which the error of one Gaussian per pixel is `goal`, nats per element."""
  std = min(config.pixel_std, config.get("pixel_std_first", config.pixel_std))
  mse = 2 * std**2 * (goal - objective.error_floor(std))
  return -10 * float(np.log10(mse))


def _goal(config) -> str:
  if not config.objective.geco:
    warmup = f", from 0 over {config.num_steps // 5} steps" if config.objective.beta_warmup else ""
    return f"constant beta {config.objective.beta}{warmup}"
  goal = objective.goal_per_element(config.objective, config.model)
  return f"GECO, goal {goal:.5f} nats per pixel and channel ({_psnr(goal, config.model):.1f} dB)"


def introduce(run, state) -> None:
  """Says what will be done, and labels the folder; on the main host.

  Args:
    run: a `loop.Run`.
    state: the state it starts from.
  """
  if not devices.is_main_host():
    return
  config = run.config
  num_parameters = sum(np.size(x) for x in jax.tree.leaves(state.params))
  folder.write_labels(
    run.workdir, config, run.source, num_parameters, run.first, run.files, run.checkpoints.change
  )
  if importlib.util.find_spec("clu"):  # else training goes on without this table
    from clu import parameter_overview

    print(parameter_overview.get_parameter_overview(state.params, include_stats=False))
  if run.source.stand_in:
    print("*" * 80)
    print("*  STAND-IN DATA: rendered here; results are not comparable with published ones.")
    print("*" * 80)
  print(f"data       {run.source.description}")
  print(f"model      {config.model.name}, {num_parameters:,} parameters")
  print(f"objective  {_goal(config)}")
  print(f"devices    {devices.description()}, batch of {config.batch_size}")
  print(f"results    {run.workdir}", flush=True)
  if run.first:
    print(f"resuming   from step {run.first} of {config.num_steps}", flush=True)
  if change := run.checkpoints.change:
    for words in (*change["config"], *filter(None, [change["data"]])):
      print(f"changed    {words}", flush=True)


def finish(run, state) -> None:
  """Last validation, picture, metrics.json and test scores, unless they are there; the report.

  Args:
    run: a `loop.Run`, trained to its end.
    state: a replicated TrainState.
  """
  step = int(devices.first(state.step))
  metrics, picture = run.workdir / "metrics.json", run.workdir / "pictures" / "final.png"
  if not picture.exists() or not _are_of(step, metrics):
    run.checkpoints.save(state)
    if run.stop.has_time_for("validation"):
      values = run.validate(state, lambda: run.stop.asked)
    if not run.stop.has_time_for("pictures"):
      print(f"stopped during the last validation{run.stop.reason}; the same command finishes it")
      return
    run.album.add("final", state, run.logbook)
    run.checkpoints.wait()
    run.logbook.scalars(step, {f"val/{name}": value for name, value in values.items()})
    if devices.is_main_host():
      folder.write_json(metrics, _final_numbers(run, step, values))
  if not run.stop.has_time_for("scores") or not final_scores.measure(run, state):
    print(f"stopped before all test images were scored{run.stop.reason}; the same command goes on")
  elif devices.is_main_host():
    report = _written_report(run.workdir)
    run.logbook.results(step, final_scores.found(run.workdir, step), report)
    _show_where(run, metrics, picture, report)


def _are_of(step: int, metrics: pathlib.Path) -> bool:
  """Whether the final numbers are there; damaged ones are not."""
  try:
    numbers = folder.read_json(metrics)
  except UserError:
    return False
  return numbers.get("step") == step and "num_images" in (numbers.get("val") or {})


def _written_report(workdir: pathlib.Path) -> pathlib.Path | None:
  """The report's file; None, after a warning, if it cannot be written."""
  try:
    return page.write(workdir)
  except Exception as error:  # of any kind: training itself has succeeded
    words, again = one_line(error, most=None), command("report", workdir)
    logging.warning("the report was not written (%s); try again with %s", words, again)
    return None


def _final_numbers(run, step: int, values: dict[str, float]) -> dict:
  return dict(
    step=step,
    model=run.config.model.name,
    data=run.source.description,
    stand_in=run.source.stand_in,
    train=run.logbook.newest("train/"),
    val=values,
  )


def _show_where(run, metrics, picture, page) -> None:
  val = folder.read_json(metrics)["val"]
  words = ", ".join(f"{name} {val[name]:.4g}" for name in named(val, LINE))
  print(f"done: {run.config.num_steps} steps; {words} on {val['num_images']:.0f} validation images")
  if words := final_scores.words(run.workdir, run.config.num_steps):
    print(words)
  if run.source.stand_in:
    print("STAND-IN DATA: these numbers are not comparable with published results")
  if page is not None:
    print(f"report       {page}: open it in a browser")
  print(f"picture      {picture}")
  print(f"metrics      {metrics}, and every logged step in {run.logbook.path}")
  if run.logbook.has_tensorboard:
    print(f"tensorboard  {run.workdir / 'tensorboard'}")
    logs = shlex.quote(str(run.workdir / "tensorboard"))
    print(f"             tensorboard --logdir {logs}", flush=True)
