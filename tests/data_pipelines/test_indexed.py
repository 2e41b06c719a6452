"""Images found by number: their order, starting anywhere, shards, and what damage does."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from data_pipelines.reading.batches import Batches
from data_pipelines.reading.indexed import Indexed
from data_pipelines.sources import DataError

NUM = 23
DAMAGED = {4, 5, 17}


def make_images(damaged=(), num=NUM, loaded=None):
  """Image i is [i, 0] in int32 (zeros at the end, to lose); `loaded` collects what is loaded."""
  lock = threading.Lock()

  def load(number):
    with lock:
      if loaded is not None:
        loaded.append(number)
    if number in damaged:
      raise ValueError("it is torn")
    return np.array([number, 0], np.int32).tobytes(), bytes([number % 7])

  def decode(values, labels):
    return {
      "image": tf.reshape(tf.io.decode_raw(values, tf.int32), [tf.shape(values)[0], 2]),
      "label": tf.reshape(tf.io.decode_raw(labels, tf.uint8), [tf.shape(labels)[0]]),
    }

  return Indexed(
    num=num,
    load=load,
    num_features=2,
    decode=decode,
    describe=lambda number: f"folder/{number}.png",
    cure="mend it",
  )


def draw(images, num_batches=None, **arguments):
  """Numbers of the images, batch by batch."""
  stream = Batches(images, **(dict(batch_size=8, shuffle=True) | arguments))
  batches = [batch for batch, _ in zip(stream, range(num_batches or 10**6), strict=False)]
  for batch in batches:
    assert not batch["image"][:, 1].any()
    np.testing.assert_array_equal(batch["label"], batch["image"][:, 0] % 7)
  return [batch["image"][:, 0].tolist() for batch in batches]


def test_the_order_is_the_documented_one():
  got = sum(draw(make_images(), epochs=3, seed=5), [])
  orders = [np.random.default_rng([5, epoch]).permutation(NUM) for epoch in range(3)]
  assert got == np.concatenate(orders).tolist()


def test_without_shuffling_images_come_by_number_in_every_epoch():
  got = draw(make_images(), epochs=2, shuffle=False)
  assert sum(got, []) == [*range(NUM), *range(NUM)]
  assert [len(batch) for batch in got] == [8, 8, 8, 8, 8, 6]


def test_a_stream_without_end_has_full_batches():
  got = draw(make_images(num=3), 5, seed=1)
  assert [len(batch) for batch in got] == [8] * 5
  assert sorted(sum(got, [])[:39]) == sorted([0, 1, 2] * 13)


@pytest.mark.parametrize("damaged", [(), DAMAGED])
@pytest.mark.parametrize("first_batch", [1, 2, 3, 5, 6, 9])
@pytest.mark.parametrize("shuffle", [True, False])
def test_starting_at_a_batch_is_as_if_those_before_were_drawn(damaged, first_batch, shuffle):
  options = dict(seed=3, on_corrupt="skip" if damaged else "error", shuffle=shuffle)
  expected = draw(make_images(damaged), first_batch + 3, **options)[first_batch:]
  assert draw(make_images(damaged), 3, first_batch=first_batch, **options) == expected


def test_starting_past_the_end_gives_nothing():
  for on_corrupt in ("error", "skip"):
    assert draw(make_images(), epochs=1, first_batch=3, on_corrupt=on_corrupt) == []
    assert draw(make_images(), epochs=1, first_batch=50, on_corrupt=on_corrupt) == []


def test_starting_far_on_loads_nothing_before():
  loaded = []
  stream = Batches(make_images(num=10**6, loaded=loaded), batch_size=8, shuffle=True,
                   epochs=2, first_batch=249_999)  # fmt: skip
  assert len(list(stream)) == 1 and sorted(loaded) == sorted(loaded[-8:])


def test_skipping_starts_far_on_after_one_look_at_each_image():
  loaded = []
  stream = Batches(make_images(DAMAGED, loaded=loaded), batch_size=10, shuffle=True, seed=2,
                   epochs=1001, on_corrupt="skip", first_batch=2000)  # fmt: skip
  assert stream.num_corrupt == len(DAMAGED)
  assert sorted(loaded) == list(range(NUM))
  assert [len(batch["image"]) for batch in stream] == [10, 10]


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_shards_make_up_the_batch(on_corrupt):
  damaged = DAMAGED if on_corrupt == "skip" else ()
  options = dict(epochs=1, on_corrupt=on_corrupt)
  shards = [draw(make_images(damaged), shard_index=i, shard_count=4, **options) for i in range(4)]
  together = [sum(rows, []) for rows in zip(*shards, strict=True)]
  assert together == draw(make_images(damaged), **options)


def test_a_shard_loads_its_own_images_only():
  loaded = []
  draw(make_images(loaded=loaded), epochs=1, shuffle=False, shard_index=1, shard_count=2)
  assert sorted(loaded) == [*range(4, 8), *range(12, 16), *range(20, 23)]


def test_damage_is_an_error_with_place_cause_and_cure():
  stream = Batches(make_images({4}), batch_size=8, shuffle=True, epochs=1)
  with pytest.raises(DataError, match=r"^folder/4.png is damaged: it is torn; mend it$"):
    list(stream)


def test_damaged_images_are_left_out_and_counted_once():
  stream = Batches(make_images(DAMAGED), batch_size=8, shuffle=True, epochs=2, on_corrupt="skip")
  numbers = [batch["image"][:, 0].tolist() for batch in stream]
  assert [len(batch) for batch in numbers] == [8] * 5
  good = [number for number in range(NUM) if number not in DAMAGED]
  assert sorted(sum(numbers, [])) == sorted(good * 2) and stream.num_corrupt == len(DAMAGED)


@pytest.mark.parametrize("epochs", [1, None])
@pytest.mark.parametrize("first_batch", [0, 7])
def test_nothing_but_damage_is_an_error(epochs, first_batch):
  with pytest.raises(DataError, match="every record is damaged; first, folder/"):
    next(Batches(make_images(range(NUM)), batch_size=8, shuffle=True, epochs=epochs,
                 on_corrupt="skip", first_batch=first_batch))  # fmt: skip


def test_an_image_that_cannot_be_decoded_is_named():
  whole = tf.io.encode_png(np.zeros((1, 1, 3), np.uint8)).numpy()
  images = Indexed(
    num=6,
    load=lambda number: (b"no PNG" if number == 2 else whole,),
    num_features=1,
    decode=lambda files: {
      "image": tf.map_fn(tf.io.decode_png, files, fn_output_signature=tf.uint8)
    },
    describe=str,
    cure="",
  )
  with pytest.raises(DataError, match=r"^2 is damaged: .* cannot be decoded"):
    list(Batches(images, batch_size=3, shuffle=False, epochs=1))


def test_a_limit_takes_the_first_images():
  assert make_images().limited(5).num_images() == 5
  assert make_images().limited(50).num_images() == NUM
  assert sorted(sum(draw(make_images().limited(5), epochs=1), [])) == list(range(5))


def test_a_split_without_images_is_refused():
  with pytest.raises(ValueError, match="num is 0"):
    make_images(num=0)
