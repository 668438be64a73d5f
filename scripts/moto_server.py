"""moto's server, with queues that lose nothing.

moto 5.2.5 takes a message out of a queue by writing a new list of all the others. When one caller does so while another
is at it, the later list brings back what the earlier took out, and lacks what was sent in between: that message is
gone. The service that moto stands for loses none, and tests that wait for each message would wait for ever. So the
steps that read and write a queue's list are taken one at a time here; a waiting receive gives the lock back.
"""

import functools
import sys

from moto.server import main
from moto.sqs.models import Queue, SQSBackend


def one_at_a_time(method, queue_of):
    """The method, holding the lock of its queue."""

    @functools.wraps(method)
    def locked(self, *args, **kwargs):
        with queue_of(self, *args, **kwargs)._messages_lock:
            return method(self, *args, **kwargs)

    return locked


def named(backend, queue_name, *_args, **_kwargs):
    """The queue that a backend's method is about."""
    return backend.get_queue(queue_name)


Queue.delete_message = one_at_a_time(Queue.delete_message, lambda queue, *_: queue)
for name in ("receive_message", "change_message_visibility"):
    setattr(SQSBackend, name, one_at_a_time(getattr(SQSBackend, name), named))

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
