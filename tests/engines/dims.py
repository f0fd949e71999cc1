"""An engine that says it is a real one: the working copy, darker. Its results are told from their clips by eye."""

import os
import pathlib
from fractions import Fraction

import av


class Engine:
    def load(self, config, report):
        report("dimming nothing", 0.5)
        return {"name": "dims", "version": "1", "controls": ["edge"], "max_frames": None, "real": True, **config}

    def generate(self, job, context):
        path = pathlib.Path(context.workdir, "out.mp4")
        with av.open(job["video"]) as clip, av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=Fraction(job["fps_num"], job["fps_den"]), options={"crf": "16"})
            stream.width, stream.height, stream.pix_fmt = job["width"], job["height"], "yuv420p"
            for number, frame in enumerate(clip.decode(video=0)):
                dim = av.VideoFrame.from_ndarray(
                    (frame.to_ndarray(format="rgb24") * 0.6).astype("uint8"), format="rgb24"
                )
                dim.pts, dim.time_base = number, Fraction(job["fps_den"], job["fps_num"])
                out.mux(stream.encode(dim))
            out.mux(stream.encode(None))
        context.progress("dim", step=1, steps=1)
        return {"path": str(path), "frames": job["frames"], "seconds": {"dim": 0.0}, "pid": os.getpid()}
