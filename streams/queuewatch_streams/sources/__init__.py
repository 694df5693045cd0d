"""Telephony systems as sources of canonical events: how each is listened to, and what its records mean.

Every source has the same two halves.  A *translator* is pure: a vendor's record and a small memory become events and
problems, without I/O and without a clock.  A *reader* does the I/O: it brings records from a file, a table, a socket or a
queue to its *station*, which has them translated and written.  What both agree on is in `shape`; `kinds` lists what there
is.  docs/sources/README.md says how a source is made.

What all share stands here, what a vendor's is in a folder of its own:

    shape      translator, reader, record, problem: the words that all sources share
    compose    canonical events as bytes; stable names, what is ignored, customers as hashes
    station    one running source: translate, write, save the position, tell heartbeats
    writer     the one way to Kafka: acknowledged, keyed, in order
    state      position and memory in a file
    serving    /healthz and /metrics
    visits     calls and stays as translators of live events remember them
    heard      what translators share that hear a system over a connection
    stories    calls as translators remember them whose records come in any order, doubled and late
    json_lines records that are JSON
    live       the loop of readers that hold a connection
    listening  what readers share that listen on a port
    topic      what the topic holds since a moment: for compare (the system's own counts) and doubles (one PBX, two sources)
    command    `queuewatch source` and `queuewatch convert`
    kinds      the kinds of sources by name, and which module of a vendor's folder has each
    aws        Amazon's queues and streams, through which several vendors bring their records
"""
