"""Configurations of the published experiments, and how they are read."""


class ConfigError(ValueError):
  """A configuration that cannot be read or does not fit; the message is one line."""
