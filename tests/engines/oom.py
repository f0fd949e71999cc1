"""The job does not fit on the GPU. As torch says it, wrapped as a library does."""


class OutOfMemoryError(RuntimeError):
    pass


class Engine:
    def load(self, config, report):
        return {"name": "oom"}

    def generate(self, job, context):
        try:
            allocate()
        except OutOfMemoryError as error:
            raise ValueError("decoding failed") from error


def allocate():
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 11.60 GiB.")
