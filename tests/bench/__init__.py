"""The benchmarks: figures measured in one run against a live Apache Kafka, each beside the bound that it must keep.

    make bench                           # everything
    python -m bench --short              # what CI runs: smaller inputs, one round, bounds twice as wide; four minutes
    python -m bench --only worker,scrape
    python -m bench --only memory --minutes 30
    python -m bench.hot_path             # where the time of an event and of a scrape goes

`feed` makes the events, which is never part of what is measured; `kafka` puts them into topics; `processes` runs what is
measured in a process of its own; the other modules each measure one thing and return `figures.Figure`s.
"""
