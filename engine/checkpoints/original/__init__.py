"""Checkpoints in the layout of the public VideoCrafter code, translated to ours.

One table of rules tells for every tensor of such a file what becomes of it; a file that does not
fit its table tensor by tensor is refused. From the rules follow the pipeline in memory
(`load.load_original`), the diffusers folder (`convert.convert_original`) and the list of what a
released file holds (`plan.expected_tensors`). Only `presets` and what it needs is free of torch.
"""
