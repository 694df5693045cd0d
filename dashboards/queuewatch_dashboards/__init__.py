"""Boards, rules and alerts, all made from one source: configuration, then named queries, then what shows or watches them.

Nothing that is written from here is edited by hand: `queuewatch boards build` writes it, `boards check` finds drift.
"""
