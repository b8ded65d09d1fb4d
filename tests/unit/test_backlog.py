"""The relay's backlog: ids gather while a queue is busy; a place counts once all before it is published."""

from app.services.sweeping import BATCH
from app.storage.changes import Changed
from tasks.backlog import Backlog


class Broker:
    """Notes what is sent; the queues of `busy` tasks take nothing."""

    def __init__(self) -> None:
        self.busy: set[str] = set()
        self.sent: list[tuple[str, list[str]]] = []

    def is_free(self, name: str) -> bool:
        """Whether the task's queue takes a message."""
        return name not in self.busy

    def send(self, name: str, ids: list[str]) -> None:
        """Takes the message."""
        self.sent.append((name, ids))


def created(order_id: str, place: int) -> Changed:
    return Changed(order_id, ["order.created"], place)


def test_a_change_is_published_at_once_to_every_step_it_sets_in_motion():
    broker, backlog = Broker(), Backlog(place=0)
    backlog.add([created("a", 1)])
    backlog.publish(broker.is_free, broker.send)
    assert sorted(broker.sent) == [("notifications.announce", ["a"]), ("payments.authorize", ["a"])]
    assert not backlog


def test_ids_gather_into_one_message_while_the_queue_is_busy():
    broker, backlog = Broker(), Backlog(place=0)
    broker.busy = {"payments.authorize", "notifications.announce"}
    for place, order_id in enumerate("abca", start=1):
        backlog.add([created(order_id, place)])
        backlog.publish(broker.is_free, broker.send)
    assert broker.sent == []
    broker.busy = {"notifications.announce"}
    backlog.publish(broker.is_free, broker.send)
    assert broker.sent == [("payments.authorize", ["a", "b", "c"])]


def test_a_message_is_never_longer_than_a_batch():
    broker, backlog = Broker(), Backlog(place=0)
    backlog.add(created(str(number), number) for number in range(BATCH + 1))
    broker.busy = {"notifications.announce"}
    backlog.publish(broker.is_free, broker.send)
    backlog.publish(broker.is_free, broker.send)
    assert [len(ids) for _, ids in broker.sent] == [BATCH, 1]


def test_a_place_is_settled_only_when_all_up_to_it_is_published():
    broker, backlog = Broker(), Backlog(place=0)
    broker.busy = {"notifications.announce"}
    backlog.add([created("a", 1)])
    backlog.publish(broker.is_free, broker.send)
    backlog.age()
    assert backlog.settled == 0
    broker.busy = set()
    backlog.publish(broker.is_free, broker.send)
    backlog.age()
    assert backlog.settled == 1


def test_places_go_on_being_settled_while_new_ids_keep_coming():
    broker, backlog = Broker(), Backlog(place=0)
    settled = []
    for place in range(1, 8):
        backlog.add([created(str(place), place)])
        backlog.age()
        settled.append(backlog.settled)
        broker.busy = {"payments.authorize"} if place % 2 else set()
        backlog.publish(broker.is_free, broker.send)
    assert settled == sorted(settled)
    assert settled[-1] >= 5


def test_one_busy_queue_holds_up_no_other_however_long():
    broker, backlog = Broker(), Backlog(place=0)
    broker.busy = {"payments.authorize"}
    for place in range(1, 20):
        backlog.add([created(str(place), place)])
        backlog.age()
        backlog.publish(broker.is_free, broker.send)
    assert [ids for name, ids in broker.sent if name == "notifications.announce"] == [
        [str(place)] for place in range(1, 20)
    ]
