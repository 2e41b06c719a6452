"""The dials that images are shifted by: which there are, and what each turns.

Where their levels are: of scenes in genesis_jax/scenes/shifts.py, of images in `corruptions`, of
slots and data in `dials`. This module imports nothing, for those who only ask.
"""

SCENES = {
  "objects": "number of objects",
  "colors": "share of objects in unseen colours",
  "shapes": "share of objects of unseen shapes",
  "sizes": "size of objects",
  "overlap": "objects' distance from the middle",
  "camera": "height of the camera",
  "grounds": "strength of the ground's pattern",
}
IMAGES = {
  "occlusion": "side of a grey square",
  "crop": "side of the crop, enlarged",
  "contrast": "contrast, by the image's own",
  "noise": "std of noise, white is 1",
  "blur": "std of blur, by the side",
  "jpeg": "quality of JPEG",
}
OTHERS = {"slots": "number of slots", "data": "data set"}
DIALS = SCENES | IMAGES | OTHERS
