"""SIGTERM and Ctrl-C as a stop request honoured between steps."""

import os
import signal

import jax


class Stop:
  """Context in which SIGTERM and Ctrl-C set `asked`, from `listen` on; a second one ends at once.

  Until then there is nothing to save, and they end the program like any other.

  With several hosts the signal must stop all of them at the same step: there Orbax listens (see
  `Checkpoints.preempted`), and this does nothing.
  """

  SIGNALS = (signal.SIGTERM, signal.SIGINT)

  def __init__(self):
    self.asked = False
    self._previous = {}

  def __enter__(self) -> "Stop":
    return self

  def listen(self) -> None:
    """Call it after each step."""
    if not self._previous and jax.process_count() == 1:
      self._previous = {number: signal.signal(number, self._ask) for number in self.SIGNALS}

  def _ask(self, number, frame):
    del frame
    self.asked = True
    signal.signal(number, signal.SIG_DFL)  # ends it at once, also while compiling
    name = signal.Signals(number).name
    # Not print: the signal may have come in the middle of one.
    os.write(
      2, f"\n{name}: finishing this step, saving it, then ending (again: at once)\n".encode()
    )

  def __exit__(self, *exc_info):
    for number, handler in self._previous.items():
      signal.signal(number, handler)
