"""Progress where there is no terminal, and work that is begun ahead of what is asked for."""

from concurrent.futures import ThreadPoolExecutor

from data_pipelines.reading import progress
from data_pipelines.stores import threads


def test_lines_now_and_then(monkeypatch, capsys, caplog):
  times = iter(range(0, 1000, 7))  # an item takes seven seconds
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
  with progress.telling(), caplog.at_level("INFO", logger="absl"):
    assert list(progress.with_progress("abcde", 5, "rendering", "scene")) == list("abcde")
  assert [record.getMessage() for record in caplog.records] == [
    "rendering: 3 of 5 scenes, 14 s left",
    "rendering: 5 of 5 scenes, 0 s left",
  ]
  assert list(progress.with_progress("abcdefg", 7, "film", "frame", aside=True)) == list("abcdefg")
  assert capsys.readouterr().out == "film: 6 of 7 frames, 7 s left\n"


def test_work_is_begun_ahead_and_comes_in_order():
  begun = []
  ahead = threads.made_ahead(map(lambda n: begun.append(n) or n, range(5)), 2)
  assert next(ahead) == 0 and begun == [0, 1, 2]
  assert list(ahead) == [1, 2, 3, 4]
  with ThreadPoolExecutor(2) as pool:
    assert list(progress.in_order(pool, abs, range(-9, 0), 3)) == list(range(9, 0, -1))
