"""A double of cosmos_transfer2/_src/transfer2/inference/utils.py: reading of clips, controls and masks."""

import os
import tempfile
from pathlib import Path

import av
import numpy as np

from cosmos_transfer2._src.imaginaire.utils import log

NUM_MAX_FRAMES = 5000
RESOLUTIONS = {"1080", "1024", "720", "512", "480", "480p", "720p", "720robocasa", "256"}
"""_src/predict2/datasets/utils.py, 44-67. The double leaves the pictures as large as they are."""


def read_video(path, resolution, max_frames=None):
    """Lines 186-246, 282-301, 352-384: all of it is decoded, then cut at 5,000 frames without a word: (T, H, W, C)."""
    if resolution not in RESOLUTIONS:
        raise KeyError(resolution)
    if Path(path).suffix not in (".mp4", ".avi", ".mov", ".mkv", ".webm"):
        raise ValueError(f"Invalid video extension: {path}")
    with av.open(path) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        fps = int(container.streams.video[0].average_rate)  # line 229: 29.97 becomes 29
    return frames[: max_frames or NUM_MAX_FRAMES], fps


def generate_control_weight_mask_from_prompt(video_path, prompt, output_folder, modality):
    """Lines 579-622: the mask's name is the clip's in the common temporary folder; none found is only a warning."""
    path = Path(output_folder, f"{Path(video_path).stem}_{modality}_mask.mp4")
    if path.exists():
        raise AssertionError(f"{path} is another job's")
    if "nothing" in prompt:
        log.warning(f"No mask generated for prompt '{prompt}'")
        return None
    path.write_bytes(b"mask")
    return str(path)


def read_and_process_control_input(video_path, input_control_paths, hint_key, resolution, seg_control_prompt):
    """Lines 625-771: the controls as (C, T, H, W), and masks that were made."""
    found = {}
    for key in hint_key:
        name = f"control_input_{key}"
        given = input_control_paths.get(key)
        if given:
            found[name] = read_video(given, resolution)[0]
        elif key == "seg":
            boxes = [] if "nothing" in seg_control_prompt else [1]
            boxes[0]  # sam2_utils.py, 96: no detection is an IndexError
            found[name] = read_video(video_path, resolution)[0] // 64 * 64
        elif key == "depth":  # lines 539-576: any failure becomes None, which is subscripted later
            bad = "broken depth" in os.environ.get("DOUBLE_LOAD", "")
            found[name] = None if bad else 255 - read_video(video_path, resolution)[0][..., :1].repeat(3, axis=-1)
        prompt = input_control_paths.get(f"{key}_mask_prompt")
        if prompt is not None:
            generate_control_weight_mask_from_prompt(
                video_path=video_path, prompt=prompt, output_folder=tempfile.gettempdir(), modality=key
            )
    return {name: made if made is None else made.transpose(3, 0, 1, 2) for name, made in found.items()}, {}
