"""What forked commands and children would each do first, and what takes longer than their work: it is done here once.

The processes that fork import this last.
"""

import gc

import av.subtitles.stream  # noqa: F401 - PyAV imports it with the first file
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

cv2.setNumThreads(1)  # a thread is not forked

cv2.cvtColor(np.zeros((1, 1, 3), np.float32), cv2.COLOR_RGB2LAB)  # tables, 0.1 s
np.percentile([0.0], 50)  # imports numpy.ma
Image.init()
ImageDraw.Draw(Image.new("RGB", (9, 9))).text((0, 0), "0", font=ImageFont.load_default(13))

gc.freeze()  # a collection in a child would copy all that is here
