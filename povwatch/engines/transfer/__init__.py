"""The parts of the diffusers engine: `Cosmos2_5_TransferPipeline` with a chunk loop of our own.

A job passes through request.py (what is asked for, and whether the engine can do it), plan.py (size and chunks),
frames.py (reads the clip, its controls and masks), blanks.py (finds those that are blank), denoise.py (one chunk),
masks.py (weights of a mask; what is kept of the clip), step.py (a step of it, in less time than diffusers'
modules, which pipeline_step.py calls), checkpoint.py (keeps a finished chunk) and vae.py (decodes it). run.py puts them
together; threads.py reads and writes beside it. A job that is not exact also has skipping.py (which steps are
computed), fp8.py (attention and feed-forward) and approximated.py (what is told of it). Before the first job:
settings.py, weights.py (the files), attention.py (the kernel for self-attention), compiling.py, memory.py (whether the
text encoder stays on the GPU), networks.py (what computes a step), embeddings.py (prompts' embeddings on the disk),
model.py (all loaded parts), guardrail.py.

On several GPUs every process has networks.py, and split.py says which part of a step is whose. peer.py is the engine of
all but the first, which has them make the calls of its step (calls.py).

The same seed gives the same video as the pipeline: to the bit with `exact = "pipeline"`, else but for rounding and what
the job's speed approximates. So the order of random draws, the types of sums and the final rounding are the pipeline's
own. Line references are to diffusers 0.42.1, pipelines/cosmos/pipeline_cosmos2_5_transfer.py.
"""
