"""Workers on the machines of a Ray cluster.

On the engine's side a `crew` has a `worker` for each actor, which takes jobs from the engine's
queue and drives its actor through a `link`. On the other side the `actor` owns a device and renders
with the same code as a worker of this machine. What crosses between them is in `orders`.

Ray is loaded by `session` when it is needed, and nowhere else.
"""
