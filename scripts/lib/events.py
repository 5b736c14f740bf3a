"""containerd's events, in order, as they arrive.

    with node.events() as events:
        node.start("c", "sleep", "1")
        exit = events.wait("/tasks/exit", container_id="c")
        print([e.topic for e in events.of("c")])
"""

import secrets
import threading
import time

from . import rpc


class Event:
    """topic, namespace, and the fields of the payload as attributes; `payload` is the message."""

    def __init__(self, envelope, payload):
        self.topic = envelope.topic
        self.namespace = envelope.namespace
        self.payload = payload

    def __getattr__(self, name):
        if name == "payload" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.payload, name)

    def __repr__(self):
        return f"<{self.topic} {' '.join(str(self.payload).split())}>"


class Events:
    """A subscription; use it as a context manager (Node.events). After __enter__ returns, no event
    is missed: a marker of our own has come back by then."""

    def __init__(self, node, filters=()):
        self._node = node
        self._module = rpc.load("events")
        self._filters = list(filters)
        self._lock = threading.Condition()
        self._events = []
        self._failed = None

    def __enter__(self):
        self._channel = rpc.channel(self._node.address)
        service = rpc.Service(self._channel, self._module, "Events")
        marker = f"/shunt-test/{secrets.token_hex(8)}"
        self._seen_marker = threading.Event()
        self._marker = marker
        filters = [*self._filters, f"topic=={marker}"] if self._filters else []
        self._stream = service.Subscribe(self._module.SubscribeRequest(filters=filters))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        request = self._module.PublishRequest(topic=marker)
        request.event.type_url = "containerd.events.TaskOOM"
        metadata = (("containerd-namespace", self._node.name),)
        deadline = time.monotonic() + 10
        while not self._seen_marker.wait(0.02):
            if time.monotonic() > deadline or self._failed:
                raise TimeoutError(f"no answer from containerd's event service: {self._failed}")
            service.Publish(request, timeout=5, metadata=metadata)
        return self

    def __exit__(self, *_):
        self._stream.cancel()
        self._thread.join(5)
        self._channel.close()

    def _read(self):
        try:
            for envelope in self._stream:
                if envelope.topic == self._marker:
                    self._seen_marker.set()
                    continue
                kind = envelope.event.type_url.rpartition(".")[2]
                payload = getattr(self._module, kind, None)
                payload = payload.FromString(envelope.event.value) if payload else None
                with self._lock:
                    self._events.append(Event(envelope, payload))
                    self._lock.notify_all()
        except Exception as error:  # cancelled, or containerd went away
            with self._lock:
                self._failed = error
                self._lock.notify_all()

    def all(self):
        """Every event so far."""
        with self._lock:
            return list(self._events)

    def forget_topic(self, topic):
        """Drops the events of a topic so far, so that `wait` sees the next one."""
        with self._lock:
            self._events = [event for event in self._events if event.topic != topic]

    def forget(self):
        """Drops the events so far."""
        with self._lock:
            self._events.clear()

    def of(self, container):
        """The task events of one container so far."""
        return [event for event in self.all()
                if event.topic.startswith("/tasks/") and event.container_id == container]

    def wait(self, topic, timeout=20, count=1, **fields):
        """The first event (or `count`-th) with this topic whose payload has these field values; it
        may have come already. TimeoutError if it does not come."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while True:
                found = [
                    event for event in self._events
                    if event.topic == topic
                    and all(getattr(event, key) == value for key, value in fields.items())
                ]
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                if left <= 0 or self._failed:
                    raise TimeoutError(
                        f"no {topic} {fields}; came: {self._events[-20:]} {self._failed or ''}")
                self._lock.wait(left)
