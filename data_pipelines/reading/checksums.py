"""Checksums of tfrecord files: CRC-32C, rotated and shifted, as TensorFlow masks them.

masked_crc(header[:8]) == struct.unpack_from("<I", header, 8)[0]
"""

import google_crc32c

_MASK_DELTA = 0xA282EAD8  # tfrecords store checksums rotated by 15 bits and shifted by this


def masked_crc(data: bytes) -> int:
  """The checksum of some bytes."""
  crc = google_crc32c.value(data)
  return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
