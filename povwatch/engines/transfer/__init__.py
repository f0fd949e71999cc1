"""The parts of the diffusers engine: `Cosmos2_5_TransferPipeline` taken apart, with a chunk loop of its own.

The way of a job: refusals.py (can it be done here?), request.py (what is asked for), plan.py (size and chunks),
frames.py (the clip and its control, chunk by chunk), denoise.py (one chunk), checkpoint.py (a finished chunk is kept),
output.py (the artifact); run.py puts them together.
Before the first job: settings.py, weights.py (which files), model.py (the loaded parts), guardrail.py.

Nothing here copies the pipeline's result by chance: the order in which random numbers are drawn, the types in which
sums are taken and the rounding at the end are its own, so that the same seed gives the same video.
Line references are to diffusers 0.42.1, pipelines/cosmos/pipeline_cosmos2_5_transfer.py.
"""
