"""Says that it is a real one, and hands two control videos over: the working copy itself, and one that is cut short."""

import pathlib
import shutil


class Engine:
    def load(self, config, report):
        return {"name": "keeps_controls", "version": "1", "controls": ["edge", "vis"], "max_frames": None, "real": True}

    def generate(self, job, context):
        path, edge, vis = (pathlib.Path(context.workdir, f"{name}.mp4") for name in ("out", "edge", "vis"))
        for to in (path, edge, vis):
            shutil.copyfile(job["video"], to)
        found = {"path": str(path), "frames": job["frames"]}
        if not job.get("keep_controls"):
            return found
        if job["spec"].get("vis"):
            vis.write_bytes(vis.read_bytes()[:500])
            return found | {"controls": {"edge": str(edge), "vis": str(vis)}}
        return found | {"controls": {"edge": str(edge)}}
