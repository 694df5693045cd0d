"""FreeSWITCH's mod_callcenter: what its event socket tells, and what api commands answer about queues, agents and callers."""
