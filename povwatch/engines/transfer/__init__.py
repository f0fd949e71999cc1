"""The parts of the diffusers engine: `Cosmos2_5_TransferPipeline` with a chunk loop of our own.

A job passes through refusals.py (can the engine do it?), request.py (what is asked for), plan.py (size and chunks),
frames.py (the clip and its control, chunk by chunk), denoise.py (one chunk), checkpoint.py (keeps a finished chunk) and
output.py (the artifact). run.py puts them together. Before the first job: settings.py, weights.py (the files), model.py
(the loaded parts), guardrail.py.

The same seed gives the same video as the pipeline. So the order of random draws, the types of sums and the final
rounding are the pipeline's own. Line references are to diffusers 0.42.1,
pipelines/cosmos/pipeline_cosmos2_5_transfer.py.
"""
