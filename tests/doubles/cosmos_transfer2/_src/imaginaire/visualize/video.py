"""A double of cosmos_transfer2/_src/imaginaire/visualize/video.py."""

import os

import av
from PIL import Image


def save_img_or_video(sample_C_T_H_W_in01, save_fp_wo_ext, fps=24):  # noqa: N803 - as upstream calls it
    """Lines 40-95: one picture is a JPEG; a video grows under its final name, and no two files are alike."""
    pictures = (sample_C_T_H_W_in01.cpu().float().numpy().transpose(1, 2, 3, 0).clip(0, 1) * 255).astype("uint8")
    if len(pictures) == 1:
        Image.fromarray(pictures[0]).save(f"{save_fp_wo_ext}.jpg", quality=85)
        return
    with av.open(f"{save_fp_wo_ext}.mp4", "w") as container:
        container.metadata["comment"] = os.urandom(8).hex()  # imageio_video_handler.py, 157
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
