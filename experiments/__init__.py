"""The programs, and what they share."""

from data_pipelines import interrupts as interrupts  # first of all: Ctrl-C while others come
