"""What may be wrong with a run, in words, with the numbers that say so and what to try."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
  """One thing found.

  Attributes:
    name: of its kind, such as "collapsed_slots"; a run has at most one of each kind of masks.
    words: what is wrong, in a sentence.
    evidence: what was measured -> number or words.
    suggestions: what to try, mostly options of `experiments.main`; the best guess first.
    is_problem: False for what need not do harm.
  """

  name: str
  words: str
  evidence: dict[str, float | str]
  suggestions: tuple[str, ...]
  is_problem: bool = True

  def lines(self) -> list[str]:
    """For a terminal."""
    numbers = ", ".join(
      f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
      for name, value in self.evidence.items()
    )
    head = "PROBLEM" if self.is_problem else "note"
    return [
      f"{head:<10} {self.name}: {self.words}",
      f"           evidence: {numbers}",
      *(f"           try: {words}" for words in self.suggestions),
    ]

  @property
  def line(self) -> str:
    """For a page: what is wrong, and what to try first."""
    return f"{self.words} Try {self.suggestions[0]}."
