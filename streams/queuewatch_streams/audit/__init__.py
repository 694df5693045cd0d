"""The audit: what the workers publish, held against a recount of the log that shares no counting with them."""

from queuewatch_streams.audit.command import AuditReport, Omission, audit, print_audit
from queuewatch_streams.audit.compare import Difference

__all__ = ["AuditReport", "Difference", "Omission", "audit", "print_audit"]
