"""The translator of Amazon Connect's records: contact events, contact records and agent events, in any order.

Which of them a record is, it says itself, so all may come over one queue or stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from queuewatch_schemas.source_settings import AmazonConnect as Settings
from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.sources.amazon_connect.agents import Agents, contacts_of, read_agent
from queuewatch_streams.sources.amazon_connect.contacts import Contacts
from queuewatch_streams.sources.amazon_connect.records import event_of, id_of, lowered, record_of, state_of, word_of
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.stories import Record, Stories

__all__ = ["AmazonConnect"]

_KEEP: Final = 1_200_000_000
"""A chain of contacts that has ended is remembered so long; what is told later still would be too late to count."""


class AmazonConnect:
    """The translator of one instance's records, each an object as JSON gives it; None for what is no JSON."""

    def __init__(self, composer: Composer, memory: Any, settings: SourceSettings | None) -> None:
        sure, agent_queues = (Settings.model_fields[each].default for each in ("sure_seconds", "agent_queues"))
        if isinstance(settings, Settings):
            sure, agent_queues = settings.sure_seconds, settings.agent_queues
        contacts = Contacts(composer, round(sure * 1e6), agent_queues=agent_queues)
        self._stories = Stories(composer, contacts.tell, _KEEP, passing=("OFFER",))
        self._agents = Agents(composer, agent_queues=agent_queues)
        self._until = 0
        self.newest = 0
        if memory is not None:
            self.newest, self._until = memory["newest"], memory["until"]
            self._stories.recall(memory["stories"])
            self._agents.recall(memory["agents"])

    @property
    def open_calls(self) -> int:
        """How many chains of contacts it remembers that have not ended."""
        return self._stories.open_calls

    def translate(self, record: Any, out: Out) -> None:
        """Say what a record means.  Raises nothing."""
        try:
            self._translate(lowered(record), out)
        except Unreadable as why:
            out.refuse(why.reason, str(why))

    def _translate(self, record: Mapping[str, Any], out: Out) -> None:
        if "detail" in record:
            found = event_of(record)
            if found is None:
                out.ignore("no_meaning")
            else:
                self._add(*found, out)
        elif "agentarn" in record and "eventtype" in record:
            self._agent(record, out)
        elif "contactid" in record:
            self._add(*record_of(record), out)
        elif record:
            out.refuse("unknown_event", "it is no contact event, contact record or agent event")
        else:
            out.refuse("unreadable", "it is no JSON object")

    def _add(self, story: str, record: Record, out: Out) -> None:
        if record.at + _KEEP < self._until and not self._stories.records(story):
            out.ignore(
                "repeated"
            )  # a record is sent anew whenever somebody changes a contact's attributes, days later too
            return
        if not self._stories.add(story, record, out):
            out.ignore("repeated")
        self.newest = max(self.newest, record.at)

    def _agent(self, event: Mapping[str, Any], out: Out) -> None:
        agent, at = read_agent(event)
        now, before = lowered(event.get("currentagentsnapshot")), lowered(event.get("previousagentsnapshot"))
        states = {id_of(each, "contactid"): word_of(each, "state") for each in contacts_of(before)}
        self._agents.translate(event, agent, at, out)
        self.newest = max(self.newest, at)
        present = set()
        for contact in contacts_of(now):
            name = id_of(contact, "contactid")
            present.add(name)
            self._contact(contact, agent, at, states.get(name), out)
        for contact in contacts_of(before):
            if id_of(contact, "contactid") not in present and word_of(contact, "state") == "ENDED":
                self._contact(contact | {"state": "GONE"}, agent, at, "ENDED", out)

    def _contact(self, contact: Mapping[str, Any], agent: str, at: int, before: str | None, out: Out) -> None:
        found = state_of(contact, agent, at, before)
        if found is not None and (found[1].at + _KEEP >= self._until or self._stories.records(found[0])):
            self._stories.add(*found, out)

    def advance(self, at: int, out: Out) -> None:
        """Nothing older than `at` will come any more: say what is sure by then."""
        self._until = max(self._until, at)
        self._stories.advance(at, out)

    def memory(self) -> Any:
        """All that the translator has to know to carry on."""
        return {
            "newest": self.newest,
            "until": self._until,
            "stories": self._stories.memory(),
            "agents": self._agents.memory(),
        }
