"""Decides how Faust fetches, seeks, commits and writes for us: everything that reaches into its internals is here.

Faust hands an agent one message at a time and keeps the books of offsets by itself; both are too slow and neither is exact
(a commit can overtake the state that it stands for).  So:

- **Whole fetches.**  The consumer's thread turns each fetch of a partition into `Delivery` objects of at most
  ``records_per_delivery`` records.  One delivery is one Faust message.  Its batches are unpacked only when it is folded, record
  by record: thousands that lie unpacked push everything else out of the processor's cache.
- **Runs and numbers.**  Each seek of a partition begins a *run*, and the deliveries of a run are numbered from 1.  Both are
  given in the consumer's thread, in the same step as the seek or the fetch: a delivery that was fetched before a seek can
  never be taken for one that came after it, and one that got lost on the way (Faust clears its queues when a rebalance
  ends) leaves a hole in the numbers.  Holes in the *offsets* mean nothing: markers, aborted transactions and compaction
  make them.
- **Resets.**  Where the broker does not have the offset that was asked for, aiokafka goes to the earliest by itself.  That
  is told by a delivery without records, so that retention and a topic made anew are no mere holes.
- **Where to begin** is asked of the `Reader` once the changelog has been read; Faust's own bookkeeping of read and
  acknowledged offsets is kept out of the way.
- **Who leads the group** asks for the topics until it knows them, and only then assigns: what it does not know of, as after
  a broker's restart, it would leave to nobody.
- **Commits** are sent once, by the generation that made them, and never retried across a rebalance.
- **The way out** is bounded in time, whether or not the broker answers: a worker that was told to stop ends.
- **The changelog** is read in whole fetches too, always from its beginning, and written through a `ChangelogWriter` that
  belongs to one assignment and dies with it.

`app` has the Faust application and the `Reader` that it serves, `consumer` the consumer and its thread, `fetches` what a
delivery is, `changelog` the writer, `way_out` the bound on steps that end a worker; `pins` compares the installed sources
with those that this was written against.
"""

from queuewatch_streams.core.partition import Row
from queuewatch_streams.delivery.app import FetchApp, Reader, Settings, build_app
from queuewatch_streams.delivery.changelog import ChangelogWriter
from queuewatch_streams.delivery.consumer import Progress, Span, TopicIds
from queuewatch_streams.delivery.fetches import Delivery
from queuewatch_streams.delivery.pins import FaustChanged, check_faust
from queuewatch_streams.delivery.way_out import LAST_WORDS, WriterEnded, within

__all__ = [
    "LAST_WORDS",
    "ChangelogWriter",
    "Delivery",
    "FaustChanged",
    "FetchApp",
    "Progress",
    "Reader",
    "Row",
    "Settings",
    "Span",
    "TopicIds",
    "WriterEnded",
    "build_app",
    "check_faust",
    "within",
]
