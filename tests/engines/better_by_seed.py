"""An engine whose results get worse with the distance of a seed from `good`, in a file beside it. It notes each run.

A seed in `waits` there is not generated until it is taken out.
"""

import json
import os
import pathlib
import time

import av
import cv2
import numpy as np


class Engine:
    def load(self, config, report):
        report("nothing", 1.0)
        return {"name": "better_by_seed", "version": "1", "controls": ["edge"], "max_frames": None, "real": True}

    def generate(self, job, context):
        folder = pathlib.Path(os.environ["BETTER_BY_SEED"])
        seed = job["spec"]["seed"]
        with (folder / "seeds").open("a") as noted:
            noted.write(f"{seed}\n")
        while seed in (told := json.loads((folder / "good").read_text())).get("waits", []):
            time.sleep(0.02)
        if seed in told.get("fails", []):
            raise RuntimeError("this seed does not work")
        path = pathlib.Path(context.workdir, "out.mp4")
        with av.open(job["video"]) as clip, av.open(str(path), "w") as made:
            stream = made.add_stream("libx264", rate=clip.streams.video[0].average_rate, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = job["width"], job["height"], "yuv420p"
            for frame in clip.decode(video=0):
                picture = frame.to_ndarray(format="rgb24")
                if distance := min(abs(seed - told["seed"]), 5):
                    picture = cv2.GaussianBlur(picture, (0, 0), 2.0 * distance)
                shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                shown.pts, shown.time_base = frame.pts, frame.time_base
                made.mux(stream.encode(shown))
            made.mux(stream.encode(None))
        return {"path": str(path), "frames": job["frames"], "seconds": {}}
