"""Checksums of tfrecord files: CRC-32C, rotated and shifted, as TensorFlow masks them.

masked_crc(header[:8]) == struct.unpack_from("<I", header, 8)[0]
"""

import numpy as np

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
_MASK_DELTA = 0xA282EAD8  # tfrecords store checksums rotated by 15 bits and shifted by this


def _crc_table() -> np.ndarray:
  table = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
  return table


_TABLE = _crc_table()
_TABLE_LIST = _TABLE.tolist()  # plain integers: four times faster one byte at a time


def _mask(crc: int) -> int:
  return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
  """The checksum of a few bytes."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc = _TABLE_LIST[(crc ^ byte) & 255] ^ (crc >> 8)
  return _mask(crc ^ 0xFFFFFFFF)


def masked_crcs(blocks: list[bytes]) -> list[int]:
  """Checksums of many blocks, in groups of about equal length."""
  groups, crcs = {}, [0] * len(blocks)
  for i, block in enumerate(blocks):
    groups.setdefault(len(block).bit_length(), []).append(i)
  for group in groups.values():
    for i, crc in zip(group, _crcs_side_by_side([blocks[i] for i in group]), strict=True):
      crcs[i] = crc
  return crcs


def _crcs_side_by_side(blocks: list[bytes]) -> list[int]:
  """Masked checksums, one byte of all blocks at a time; padded in memory to the longest."""
  if len(blocks) == 1:
    return [masked_crc(blocks[0])]
  lengths = np.array([len(block) for block in blocks])
  width = lengths.max()
  padded = np.frombuffer(b"".join(b.ljust(width, b"\0") for b in blocks), np.uint8)
  columns = padded.reshape(len(blocks), width).T
  crcs = np.full(len(blocks), 0xFFFFFFFF, np.uint32)
  for i, column in enumerate(columns):
    crcs = np.where(i < lengths, _TABLE[(crcs ^ column) & 255] ^ (crcs >> 8), crcs)
  return [_mask(int(crc) ^ 0xFFFFFFFF) for crc in crcs]
