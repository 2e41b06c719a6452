"""What objects and grounds of ClevrTex are made of, as its files call it, and the codes of it.

code("poliigonbricks01", MATERIALS)      # 1: from 1 in the order of the list, 0 is none
"""

import zlib

PREFIX = "poliigon"  # of most materials, whose names are here without it
TEXTURED = """
bricks01 bricksflemishred001 brickspaintedwhite001 carpettwistnatural001
chainmailcopperroundedthin001 citystreetasphaltgenericcracked002
citystreetroadasphalttwolaneworn001 cliffjagged004 cobblestonearches002 concretewall001
fabricdenim003 fabricfleece001 fabricleatherbuffalorustic001 fabricrope001
fabricupholsterymidcenturypebbles001 groundclay002 grounddirtforest014 grounddirtrocky002
groundforest003 groundforest008 groundforestmulch001 groundforestroots001 groundmoss001
groundsnowpitted003 groundtiretracks001 interiordesignrugstarrynight001 marble062 marble13
metalcorrodedheavy001 metalcorrugatedironsheet002 metaldesignerweavesteel002
metalpanelrectangular001 metalspottydiscoloration001 metalstainlesssteelbrushed plaster07
plaster17 roadcityworn001 rooftilesterracotta004 rustmixedonpaint012 rustplain007
solarpanelspolycrystallinetypebframedclean001 stonebricksbeige015 stonemarblecalacatta004
terrazzovenetianmattewhite001 tiles05 tilesmarblechevroncreamgrey001
tilesmarblesagegreenbrickbondhoned001 tilesonyxopaloblack001 tilesrectangularmirrorgray001
wallmedieval003 waterdropletsmixedbubbled001 whitemarble woodfinedark004 woodflooring044
woodflooring061 woodflooringmahoganyafricansanded001 woodflooringmerbaubrickbondnatural001
woodplanks028 woodplanksworn33 woodquarteredchiffon001
""".split()
PLAIN = ["rubber", "mymetal", "tabularasa"]
OUTD = """
brickoldred001 carpetplushdesignerrhombus001 chainmailgoldrounded001 chippedpaint015
cliffjagged007 drywallprepared007 fabricupholsterypyramidspattern001 groundclay006 groundclay008
grounddirtforestroots004 grounddirtrocky006 groundgrassgreen groundrocky006 groundrocky014
groundsandfootprintsleaves001 metalsiding004 metalstainlesssteelbraided001
panelsacousticfoamtiles004 plastersloppy rooftilesceramic001 rooftilescopper003
rooftilesquarry001 rustplain030 steelfloordiamond001 tilesterrazzopalladianahonedgreen001
""".split()
MATERIALS = (*TEXTURED, *PLAIN, *OUTD)
# The published files have this wrong name for one of them.
ALIASES = {"fabricupholsterybrightanglepattern001": "fabricupholsterymidcenturypebbles001"}

SHAPES = ("cube", "sphere", "cylinder", "monkey", "cone", "icosahedron", "torus", "teapot")
SIZES = ("small", "medium", "large")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")


def code(name: str, names: tuple[str, ...]) -> int:
  """The number of a name, from 1; of one that is not in the list, as in sets of one's own, a hash.

  Raises:
    ValueError: it is no name.
  """
  if not isinstance(name, str):
    raise ValueError(f"it names something {name!r:.40}")
  short = name.lower().removeprefix(PREFIX)
  short = ALIASES.get(short, short)
  return 1 + names.index(short) if short in names else zlib.crc32(short.encode()) >> 1


def published_name(material: str) -> str:
  """The whole name of a material of the list."""
  return material if material in (*PLAIN, "whitemarble") else PREFIX + material
