"""Both sides' records of each connection, compared."""

from __future__ import annotations

from collections import Counter

from .conversation import Record
from .plan import Plan

__all__ = ["Judge"]


class Judge:
    """Takes the records of a round, and compares them at its end.

    Attributes:
        counts: of messages, connections and what became of them.
        ends: how connections ended, for both sides.
        problems: what should not have been.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.problems: list[str] = []
        self._clients: dict[str, Record] = {}
        self._servers: dict[str, Record] = {}
        self._failed: set[str] = set()

    def take(self, record: Record) -> None:
        """Take what one side says of a connection."""
        records = self._clients if record.side == "client" else self._servers
        if record.plan in records:
            self.problems.append(f"two connections of the {record.side}: {record.plan}")
        records[record.plan] = record

    def take_failure(self, plan: str, kind: str) -> None:
        """Take note that a client could not connect."""
        self._failed.add(plan)
        self.failures[kind] += 1

    def finish_round(self, killed: set[str]) -> None:
        """Compare; clients of the processes with these names may have left without a word."""
        for target, client in self._clients.items():
            server = self._servers.pop(target, None)
            self._compare(client, server)
        for target, server in self._servers.items():
            process = Plan.of(target).name.rpartition("-")[0]
            if process in killed:
                self.counts["connections of processes that were killed"] += 1
            elif target in self._failed:
                self.counts["connections of which the client never heard"] += 1
            else:
                self.problems.append(f"the client says nothing of {server}")
            if server.is_clean and process not in killed:
                self.problems.append(f"clean for the server only: {server}")
            self._count(server)
        self._clients.clear()
        self._servers.clear()
        self._failed.clear()

    def _compare(self, client: Record, server: Record | None) -> None:
        self.counts["connections"] += 1
        self._count(client)
        if server is None:
            self.problems.append(f"the server says nothing of {client}")
            return
        self._count(server)
        plan = Plan.of(client.plan)
        self.counts[f"of these {plan.kind}"] += 1
        self.counts["of these over TLS"] += plan.secure
        self.counts["of these through the relay"] += plan.has_faults
        both_clean = client.is_clean and server.is_clean
        self.counts["closed cleanly"] += both_clean
        for sender, receiver in ((client, server), (server, client)):
            # What was cut off while it was sent may have arrived.
            most = sender.sent + (not both_clean)
            if receiver.received > most:
                self.problems.append(f"more came than was sent: {sender}, {receiver}")
            # Who closes in the middle of it has said that the rest is not wanted.
            if both_clean and (plan.ending == "agreed" or plan.closer == sender.side):
                self.counts["messages that had to arrive"] += sender.sent
                if receiver.received != sender.sent:
                    self.problems.append(f"lost: {sender}, {receiver}")

    def _count(self, record: Record) -> None:
        self.counts["messages received and checked"] += record.received
        self.counts["calls cancelled"] += record.cancelled
        self.ends[f"{record.side}: {record.end}"] += 1
        self.problems += [f"{problem}: {record}" for problem in record.problems]
