"""Inserts gathered into batches: each caller hears what became of its own document, as if it were alone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from bson.errors import InvalidDocument
from pymongo.errors import ConnectionFailure, DuplicateKeyError, WriteError

from app.mongo.group_commit import GroupCommit
from tests.support.doubles import Crash, at_once, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.collection import Collection

    from app.mongo.database import OrderDatabase

THREADS = 64


@pytest.fixture
def collection(migrated_database: OrderDatabase) -> Iterator[Collection[dict[str, Any]]]:
    """A collection with a unique key and a validator."""
    name = "group_commit"
    rule = {"$jsonSchema": {"properties": {"n": {"bsonType": "int", "minimum": 0}}}}
    made = migrated_database.create_collection(name, validator=rule)
    made.create_index("key", unique=True, partialFilterExpression={"key": {"$exists": True}})
    yield made
    migrated_database.drop_collection(name)


class Counting:
    """The collection, and the sizes of the batches it was given; `before` runs before each."""

    def __init__(self, inner: Any, before: Callable[[], None] = lambda: None) -> None:
        self._inner = inner
        self._before = before
        self.batches: list[int] = []

    def insert_many(self, documents: list[dict[str, Any]], **options: Any) -> Any:
        """Counts and passes on."""
        self.batches.append(len(documents))
        self._before()
        return self._inner.insert_many(documents, **options)


def insert_all(commits: GroupCommit, documents: list[dict[str, Any]]) -> list[Any]:
    """Inserts all at once, a thread for each: None, or the error, in order."""
    return at_once(*(lambda document=document: commits.insert(document) for document in documents))


def test_all_inserts_of_64_threads_are_stored_when_they_return(collection: Any) -> None:
    counted = Counting(collection)
    commits = GroupCommit(counted)  # type: ignore[arg-type]

    def several(thread: int) -> list[int]:
        missing = []
        for number in range(20):
            commits.insert({"_id": thread * 100 + number, "n": number})
            if collection.find_one({"_id": thread * 100 + number}) is None:
                missing.append(number)
        return missing

    assert at_once(*(lambda thread=thread: several(thread) for thread in range(THREADS))) == [[]] * THREADS
    assert collection.count_documents({}) == THREADS * 20 == sum(counted.batches)
    assert len(counted.batches) < THREADS * 20


def test_a_lone_insert_does_not_wait(collection: Any) -> None:
    counted = Counting(collection)
    GroupCommit(counted).insert({"_id": 1})  # type: ignore[arg-type]
    assert counted.batches == [1]
    assert collection.find_one({"_id": 1})


def test_no_batch_is_larger_than_allowed(collection: Any) -> None:
    counted = Counting(collection)
    assert insert_all(GroupCommit(counted, largest=5), [{} for _ in range(THREADS)]) == [None] * THREADS  # type: ignore[arg-type]
    assert max(counted.batches) <= 5
    assert collection.count_documents({}) == THREADS


def test_of_64_documents_under_one_key_one_is_inserted_and_the_others_fail(collection: Any) -> None:
    outcomes = insert_all(GroupCommit(collection), [{"_id": n, "key": "same"} for n in range(THREADS)])
    assert sum(isinstance(outcome, DuplicateKeyError) for outcome in outcomes) == THREADS - 1
    (stored,) = collection.find()
    assert outcomes[stored["_id"]] is None


def test_each_error_goes_to_the_caller_whose_document_it_is_and_spoils_no_other(collection: Any) -> None:
    collection.insert_one({"_id": "taken"})
    kinds: list[tuple[dict[str, Any], type[Exception] | None]] = [
        ({"_id": "taken"}, DuplicateKeyError),
        ({"n": -1}, WriteError),
        ({"n": {1, 2}}, InvalidDocument),
        ({"n": 2**70}, OverflowError),
        ({"text": "\ud800"}, UnicodeEncodeError),
    ]
    documents = [
        (document, None) if place % 4 else kinds[place // 4 % len(kinds)]
        for place, document in enumerate({"good": n} for n in range(THREADS))
    ]
    outcomes = insert_all(GroupCommit(collection), [document for document, _ in documents])
    for outcome, (document, expected) in zip(outcomes, documents, strict=True):
        assert (outcome is None) if expected is None else isinstance(outcome, expected), document
    good = sum(expected is None for _, expected in documents)
    assert collection.count_documents({"good": {"$exists": True}}) == good == THREADS - 16


def test_a_document_refused_by_its_validator_says_so_to_its_caller(collection: Any) -> None:
    (outcome,) = insert_all(GroupCommit(collection), [{"n": -1}])
    assert isinstance(outcome, WriteError)
    assert outcome.code == 121


def test_an_outage_in_the_middle_fails_all_of_the_batch(collection: Any) -> None:
    def outage() -> None:
        raise ConnectionFailure("gone")

    commits = GroupCommit(Counting(collection, outage))  # type: ignore[arg-type]
    outcomes = insert_all(commits, [{} for _ in range(8)])
    assert [type(outcome) for outcome in outcomes] == [ConnectionFailure] * 8


def test_a_leader_that_is_killed_confirms_nobodys_insert_and_the_next_one_goes_on(collection: Any) -> None:
    gathered = threading.Event()
    fates: list[object] = []

    def die_once() -> None:
        gathered.wait(10)
        if len(counted.batches) == 2:
            raise Crash

    counted = Counting(collection, die_once)
    commits = GroupCommit(counted)  # type: ignore[arg-type]

    def insert(number: int) -> None:
        try:
            commits.insert({"_id": number})
            fates.append("inserted")
        except (Crash, ConnectionFailure) as error:
            fates.append(type(error))

    threads = [threading.Thread(target=insert, args=(number,)) for number in range(6)]
    threads[0].start()
    eventually(lambda: counted.batches == [1])
    for thread in threads[1:]:
        thread.start()
    eventually(lambda: len(commits._gather._open.items) == 5)
    gathered.set()
    for thread in threads:
        thread.join(10)
    assert collection.count_documents({}) == fates.count("inserted") == 1
    assert (fates.count(Crash), fates.count(ConnectionFailure)) == (1, 4)
    commits.insert({"_id": "later"})
    assert collection.find_one({"_id": "later"})
