"""The process is spoilt: whatever it does on the GPU from now on fails."""


class Engine:
    def load(self, config, report):
        return {"name": "sticky"}

    def generate(self, job, context):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
