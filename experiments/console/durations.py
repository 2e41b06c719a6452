"""Times for people."""


def duration(seconds: float) -> str:
  """Seconds in the two largest units that fit: "1d 3h", "4m 10s"."""
  rest, parts = int(seconds), []
  for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
    count, rest = divmod(rest, size)
    if count or parts or unit == "s":
      parts.append(f"{count}{unit}")
  return " ".join(parts[:2])
