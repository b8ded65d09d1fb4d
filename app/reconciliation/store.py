"""The reports of reconciliations and their differences.

The report of a running reconciliation has its phase and checkpoint. One write moves the checkpoint and checks
the claim, so of two processes with the same batch only one can go on.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from secrets import token_hex
from typing import Any, NamedTuple

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.database import Database

from app.mongo.database import Document
from app.mongo.documents import insert_if_new, insert_new, to_document, to_record
from app.mongo.outages import reports_outages
from app.reconciliation.report import Difference, Report, ReportedDifference

_HIDDEN = ("claim", "claimedUntil")
_UNDER_WAY = dict.fromkeys((*_HIDDEN, "place"), "")


class ClaimLost(Exception):
    """Another process has the reconciliation now."""


class Claimed:
    """A reconciliation that this process may advance until the claim expires."""

    def __init__(self, report: Report, claim: str) -> None:
        self.report = report
        self.claim = claim


class Progress(NamedTuple):
    """The phase of a reconciliation and its checkpoint in that phase.

    `checked` counts the records read since the last checkpoint. `too_early` has one moment for each order
    that was not checked in full: the moment after which it can be.
    """

    phase: str
    checkpoint: Any
    checked: Counter[str]
    too_early: Sequence[datetime] = ()


@reports_outages
class Reconciliations:
    """A difference is a candidate until the re-check confirms it (`stands`). Reports show no candidates."""

    def __init__(self, database: Database[Document]) -> None:
        self._reports = database["reconciliations"]
        self._differences = database["reconciliation_differences"]

    def begin(self, report: Report) -> bool:
        """Records a new reconciliation. False if one with this id exists."""
        document = to_document(report, ObjectId) | {"claimedUntil": report["startedAt"]}
        return insert_if_new(self._reports, document)

    def get(self, report_id: str) -> Report | None:
        """The report, or None if it does not exist."""
        if not ObjectId.is_valid(report_id):
            return None
        document = self._reports.find_one({"_id": ObjectId(report_id)})
        return _report(document) if document else None

    def page(self, after: str | None, limit: int) -> list[Report]:
        """Up to `limit + 1` reports, newest first."""
        condition: Document = {"_id": {"$lt": ObjectId(after)}} if after else {}
        found = self._reports.find(condition).sort("_id", -1).limit(limit + 1)
        return [_report(document) for document in found]

    def running(self) -> list[Report]:
        """The running reconciliations, oldest first."""
        return [_report(found) for found in self._reports.find({"status": "running"}).sort("_id")]

    def claim(self, report_id: str, now: datetime, until: datetime) -> Claimed | None:
        """Claims a reconciliation until then. None if it has ended or another process has it."""
        claim = token_hex(8)
        document = self._reports.find_one_and_update(
            {"_id": ObjectId(report_id), "status": "running", "claimedUntil": {"$lte": now}},
            {"$set": {"claim": claim, "claimedUntil": until}},
            return_document=ReturnDocument.AFTER,
        )
        return Claimed(_report(document), claim) if document else None

    def move(self, claimed: Claimed, progress: Progress, until: datetime) -> None:
        """Records the progress and extends the claim. Raises ClaimLost."""
        counted = {f"checked.{what}": n for what, n in progress.checked.items()}
        update: Document = {
            "$set": {"stage": progress.phase, "place": progress.checkpoint, "claimedUntil": until},
            "$inc": {**counted, "unjudged": len(progress.too_early)},
        }
        if progress.too_early:
            update["$max"] = {"runAgainAfter": max(progress.too_early)}
        self._change(claimed, update)

    def release(self, claimed: Claimed, moment: datetime) -> None:
        """Gives up the claim at that moment, and records the counts so far. Raises ClaimLost."""
        self._change(claimed, {"$set": {**self._counts(claimed), "claimedUntil": moment}})

    def end(self, claimed: Claimed, at: datetime) -> None:
        """Records the end of the reconciliation. Raises ClaimLost."""
        ended = {"status": "finished", "endedAt": at, **self._counts(claimed)}
        self._change(claimed, {"$set": ended, "$unset": _UNDER_WAY})

    def fail(self, report_id: str, at: datetime, detail: str) -> None:
        """Ends the reconciliation early, even if another process has the claim."""
        failed = {"status": "failed", "endedAt": at, "detail": detail}
        self._reports.update_one(
            {"_id": ObjectId(report_id), "status": "running"}, {"$set": failed, "$unset": _UNDER_WAY}
        )

    def add_candidates(self, report_id: str, differences: Iterable[Difference], at: datetime) -> None:
        """Records differences for the re-check. A difference that is recorded already stays as it is."""
        documents = [
            {
                "_id": _key(report_id, one),
                "kind": one.kind,
                "ids": dict(one.ids),
                "expected": one.expected,
                "found": one.found,
                "version": one.version,
                "at": at,
                "stands": False,
                "repaired": False,
            }
            for one in differences
        ]
        insert_new(self._differences, documents)

    def candidates(self, report_id: str, limit: int) -> list[ReportedDifference]:
        """Up to `limit` differences that wait for the re-check."""
        found = self._differences.find({**_of(report_id), "stands": False}).sort("_id").limit(limit)
        return [to_record(document) for document in found]

    def discard(self, difference_ids: Sequence[str]) -> None:
        """Removes candidates that the re-check did not find again."""
        self._differences.delete_many({"_id": {"$in": list(difference_ids)}})

    def confirm(self, difference_id: str, standing: Difference) -> None:
        """Records that the re-check found the difference again, with its current values."""
        stands = {"stands": True, "expected": standing.expected, "found": standing.found}
        self._differences.update_one({"_id": difference_id}, {"$set": stands})

    def note_repair(self, difference_id: str) -> None:
        """Records that the difference is repaired."""
        self._differences.update_one({"_id": difference_id}, {"$set": {"repaired": True}})

    def differences(self, report_id: str, after: str | None, limit: int) -> list[ReportedDifference]:
        """Up to `limit + 1` confirmed differences, by kind."""
        condition = _of(report_id)
        if after is not None:
            condition["_id"]["$gt"] = after
        found = self._differences.find({**condition, "stands": True}).sort("_id").limit(limit + 1)
        return [to_record(document) for document in found]

    def forget_before(self, moment: datetime) -> None:
        """Removes the reports that ended before the moment, with their differences."""
        for report in self._reports.find({"endedAt": {"$lt": moment}}, {"_id": 1}):
            self._differences.delete_many(_of(str(report["_id"])))
            self._reports.delete_one({"_id": report["_id"]})

    def _counts(self, claimed: Claimed) -> Document:
        counted = self._differences.aggregate(
            [
                {"$match": {**_of(claimed.report["id"]), "stands": True}},
                {"$group": {"_id": "$kind", "n": {"$sum": 1}, "repaired": {"$sum": {"$toInt": "$repaired"}}}},
            ]
        )
        kinds = list(counted)
        return {
            "found": {kind["_id"]: kind["n"] for kind in kinds},
            "repaired": sum(kind["repaired"] for kind in kinds),
        }

    def _change(self, claimed: Claimed, update: Document) -> None:
        mine = {"_id": ObjectId(claimed.report["id"]), "claim": claimed.claim, "status": "running"}
        document = self._reports.find_one_and_update(mine, update, return_document=ReturnDocument.AFTER)
        if document is None:
            raise ClaimLost
        claimed.report = _report(document)


def _key(report_id: str, one: Difference) -> str:
    """The same for the same difference, so that a batch done twice reports it once."""
    return ":".join((report_id, one.kind, *map(str, one.ids.values())))


def _of(report_id: str) -> Document:
    return {"_id": {"$gt": f"{report_id}:", "$lt": f"{report_id};"}}


def _report(document: Document) -> Report:
    return {key: value for key, value in to_record(document).items() if key not in _HIDDEN}  # type: ignore[return-value]
