"""Faults on purpose: real brokers and workers, a seeded script of faults, and what must be true of every run.

`python -m chaos --runs 50 --seed 1` (in the folder tests, or `make chaos`).

- `traffic`: what is published meanwhile, and what it comes to by brute force.
- `proxy`: a way from one worker to the broker that can be cut, held, and made to stop a worker in mid checkpoint.
- `processes`: the workers.  `scrapes`: every look at their /metrics, and what may never be seen there.
- `faults`: the faults and the script.  `ground`: the broker, for all runs.  `site`: one run.  `checks`: what must be true.
- `planted_worker`: a worker with a bug.  `planted`: a run with it, which must be caught.
"""
