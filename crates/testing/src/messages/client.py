"""A client of RocketMQ 5 that is told what to do by lines, and tells by lines what it did.

client.py producer ADDRESS TOPIC           reads `send ID [VERSION]`, answers `sent ID`
client.py push ADDRESS TOPIC GROUP [TAG]   tells `got ID ATTEMPT`, `done ID`
client.py simple ADDRESS TOPIC GROUP       the same
A message `slow-...` takes three seconds; `once-...` fails at its first attempt.
"""

import logging
import sys
import threading
import time

logging.disable(logging.CRITICAL)

from rocketmq.v5.client import ClientConfiguration, Credentials  # noqa: E402
from rocketmq.v5.consumer import PushConsumer, SimpleConsumer  # noqa: E402
from rocketmq.v5.consumer.push import ConsumeResult, MessageListener  # noqa: E402
from rocketmq.v5.model import FilterExpression, Message  # noqa: E402
from rocketmq.v5.producer import Producer  # noqa: E402

lock = threading.Lock()


def tell(*words):
    with lock:
        print(*words, flush=True)


def handled(message):
    """Whether the message was dealt with."""
    name = message.body.decode()
    tell("got", name, message.delivery_attempt or 1)
    if name.startswith("slow"):
        time.sleep(3)
    if name.startswith("once") and (message.delivery_attempt or 1) <= 1:
        tell("failed", name)
        return False
    return True


class Listener(MessageListener):
    def consume(self, message):
        if not handled(message):
            return ConsumeResult.FAILURE
        tell("done", message.body.decode())
        return ConsumeResult.SUCCESS


def produce(settings, topic):
    producer = Producer(settings, (topic,))
    producer.startup()
    tell("ready")
    for line in sys.stdin:
        _, name, *version = line.split()
        message = Message()
        message.topic = topic
        message.body = name.encode()
        message.keys = name
        message.tag = name.split("-")[0]
        if version:
            message.add_property("x-gray-version", version[0])
        for attempt in range(60):
            try:
                producer.send(message)
                break
            except Exception as error:
                if attempt == 59:
                    raise
                time.sleep(0.5)
        tell("sent", name)


def push(settings, topic, group, tag="*"):
    consumer = PushConsumer(settings, group, Listener(), {topic: FilterExpression(tag)})
    consumer.startup()
    tell("ready")
    sys.stdin.read()
    consumer.shutdown()


def simple(settings, topic, group):
    consumer = SimpleConsumer(settings, group, {topic: FilterExpression()}, await_duration=5)
    consumer.startup()
    tell("ready")
    while True:
        try:
            messages = consumer.receive(8, 15) or []
        except Exception:
            time.sleep(0.2)
            continue
        for message in messages:
            if handled(message):
                consumer.ack(message)
                tell("done", message.body.decode())


kind, address, *rest = sys.argv[1:]
roles = {"producer": produce, "push": push, "simple": simple}
roles[kind](ClientConfiguration(address, Credentials()), *rest)
