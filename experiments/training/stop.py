"""SIGTERM and Ctrl-C as a wish that the loop grants between two steps."""

import os
import signal

import jax


class Stop:
  """Context in which SIGTERM and Ctrl-C set `asked`; a second one ends the program at once.

  With several hosts the signal must stop all of them at the same step: there Orbax listens (see
  `Checkpoints.preempted`), and this does nothing.
  """

  SIGNALS = (signal.SIGTERM, signal.SIGINT)

  def __init__(self):
    self.asked = False
    self._previous = {}

  def __enter__(self) -> "Stop":
    if jax.process_count() == 1:
      self._previous = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
    return self

  def _ask(self, number, frame):
    del frame
    self.asked = True
    signal.signal(number, signal.SIG_DFL)
    name = signal.Signals(number).name
    # Not print: the signal may have come in the middle of one.
    os.write(
      2, f"\n{name}: finishing this step, saving it, then ending (again: at once)\n".encode()
    )

  def __exit__(self, *exc_info):
    for number, handler in self._previous.items():
      signal.signal(number, handler)
