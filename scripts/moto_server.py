"""moto's server, with queues that lose no message.

moto 5.2.5 removes a message from a queue by writing a new list of all other messages. If two callers do that at the
same time, the later list restores what the earlier one removed, and lacks what was sent in between: that message is
lost. SQS loses none, and tests that wait for each message would wait forever. This server therefore serializes the
steps that read and write a queue's list; a receive releases the lock while it waits.
"""

import functools
import sys

from moto.server import main
from moto.sqs.models import Queue, SQSBackend


def one_at_a_time(method, queue_of):
    """Wraps the method so that it runs under the lock of its queue."""

    @functools.wraps(method)
    def locked(self, *args, **kwargs):
        with queue_of(self, *args, **kwargs)._messages_lock:
            return method(self, *args, **kwargs)

    return locked


def named(backend, queue_name, *_args, **_kwargs):
    """Returns the queue of a backend's method."""
    return backend.get_queue(queue_name)


Queue.delete_message = one_at_a_time(Queue.delete_message, lambda queue, *_: queue)
for name in ("receive_message", "change_message_visibility"):
    setattr(SQSBackend, name, one_at_a_time(getattr(SQSBackend, name), named))

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
