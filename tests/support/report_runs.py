"""The folder of a run as the programs leave it behind, written by hand."""

import json

from PIL import Image

from configs.experiment import compose

STEPS = range(10, 210, 10)


def write(path, content) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content if isinstance(content, str) else json.dumps(content))


def picture(path, shade: int, size=(90, 60)) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", size, (shade, 80, 160)).save(path)


def row(step: int) -> str:
  err = 0.5655 + 1 / step
  values = {"err": err * 3072, "err_element": err, "err_ema_element": err + 0.01, "beta": 1 / step}
  values |= {"elbo": err * 3072 + 20, "loss": err * 3072 + 20 / step, "kl": 20.0, "mse": 1 / step}
  values |= {"kl_component": 12.0, "kl_mask": 8.0, "step_time": 0.5, "diverged_at": -1.0}
  values |= {f"kl_component/{k}": 4.0 + k for k in range(3)} | {"slots_used": 3.0}
  values["grad_norm"] = None if step == 50 else 2.0
  named = {f"train/{name}": value for name, value in values.items()}
  if step % 100 == 0:
    named |= {"val/ari_fg": step / 1000, "val/ari_fg_r": 0.3, "val/err_element": err,
              "val/num_images": 64.0}  # fmt: skip
  return json.dumps({"step": step, "time": 1e9 + step} | named)


def make_run(workdir) -> None:
  """A run's folder as the programs leave it behind, killed while it wrote its last row."""
  config = compose("genesis", "shapestacks")
  config.model.image_size, config.num_steps, config.seed = 32, 400, 3
  config.objective.beta_warmup = True  # the default of earlier versions; with GECO nothing reads it
  description = "shapestacks: <b>RENDERED</b> STAND-IN, not the published images"
  labels = dict(
    command="python -m experiments.main --config=configs/genesis_shapestacks.py",
    started="2026-01-02T03:04:05+0000",
    resumed_from_step=0,
    num_parameters=1234567,
    stand_in=True,
    data=dict(
      name="shapestacks", variant="default", description=description, num_files={"train": 7}
    ),
    hardware=dict(devices=["H200", "H200"], hosts=1, host_cpus=16, machine="Linux"),
    versions={"python": "3.11", "jax": "0.10"},
    git_commit="0123456789abcdef0123456789abcdef01234567-dirty",
    config=json.loads(config.to_json_best_effort()),
  )
  write(workdir / "run.json", labels)
  write(workdir / "metrics.jsonl", "\n".join(map(row, STEPS)) + '\n{"step": 210, "train/el')
  for shade, name in enumerate(("step_0000100", "step_0000200"), start=1):
    picture(workdir / "pictures" / f"{name}.png", 60 * shade)


def add_measurements(workdir) -> None:
  scores = {"ari_fg": 0.625, "msc_fg": 0.5, "elbo": 1700.0}
  summary = {k: dict(mean=v, standard_error=0.0125, std_noise=None) for k, v in scores.items()}
  evaluation = dict(step=200, split="test", num_images=40, num_repeats=1, stand_in=True,
                    segmentation_absent=None, scores=summary,
                    definitions={"ari_fg": "the definition in the file"})  # fmt: skip
  write(workdir / "evaluation" / "segmentation_step_200_test.json", evaluation)
  fid = dict(fid=123.45, step=200, num_images=50, dim=2048, weights_published=False)
  write(workdir / "evaluation" / "fid.json", {"definition": "", "results": [fid]})


def add_figures(workdir) -> None:
  folder = workdir / "visualisations"
  entries = []
  for name, file in (("slots", "slots.png"), ("traversals_mask", "t.png"), ("film", "film.gif")):
    picture(folder / file, 100)
    entries.append(dict(name=name, file=file, caption=f'About "{name}".', step=200, split="test"))
  frames = [Image.new("RGB", (30, 20), (shade, 0, 0)) for shade in (0, 120, 240)]
  frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:], duration=100)
  write(folder / "index.json", {"figures": entries})


LATENTS, SEEDS = (4, 16, 64), (0, 1, 2)


def made_sweep(folder, images: int = 40) -> None:
  """Runs over the size of a latent with several seeds, each scored on the same test images.

  A larger latent has an ARI-FG that is higher by 0.1, with noise of single images.
  """
  for place, latent in enumerate(LATENTS):
    for seed in SEEDS:
      workdir = folder / f"latent_{latent}" / f"seed_{seed}"
      make_run(workdir)
      labels = json.loads((workdir / "run.json").read_text())
      config = labels["config"]
      config["seed"], config["model"]["component_latent_dim"] = seed, latent
      config["num_steps"], labels["stand_in"] = 200, False
      write(workdir / "run.json", labels)
      lines = (workdir / "metrics.jsonl").read_text().splitlines()[:-1]
      rows = [json.loads(line) for line in lines]
      for one in rows:
        one["train/mse"] = (1 + 0.1 * seed) / one["step"] / (1 + place)
      write(workdir / "metrics.jsonl", "\n".join(map(json.dumps, rows)))
      add_evaluation(workdir, 0.5 + 0.1 * place + 0.01 * seed, images)


def add_evaluation(workdir, ari_fg: float, images: int = 40, first: int = 0) -> None:
  """What evaluate leaves of so many test images, the first of them at a place in the split."""
  index = list(range(first, first + images))
  shape = [(7 * i) % 11 / 110 - 0.045 for i in index]  # how images differ, alike for all models
  per_image = {"ari_fg": [ari_fg + x for x in shape], "elbo": [1000 + 10 * x for x in shape]}
  per_image["ari_fg"][0] = None
  known = {name: [x for x in values if x is not None] for name, values in per_image.items()}
  words = f"{images} of 900 test images, drawn at random (seed 0)"
  content = dict(
    step=200, split="test", num_images=images, num_repeats=1, stand_in=False,
    segmentation_absent=None, images=words, index=index, per_image=per_image,
    scores={name: dict(mean=sum(values) / len(values), standard_error=0.01, std_noise=None)
            for name, values in known.items()},
    definitions={name: f"what {name} is; over {words}" for name in per_image},
  )  # fmt: skip
  write(workdir / "evaluation" / "segmentation_step_200_test.json", content)
