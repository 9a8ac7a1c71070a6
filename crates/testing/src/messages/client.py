"""A client of RocketMQ 5 that is told what to do by lines, and tells by lines what it did.

client.py producer ADDRESS TOPICS [once]  reads `send ID [VERSION]`, answers `sent ID`; with `once` it sends nothing again
                                          and answers `lost ID` where it does not know; reads more, see `produce`
client.py push ADDRESS TOPICS GROUP       tells `got ID ATTEMPT TAKEN VIA MARK`, `done ID TIME`, `failed ID TIME`
client.py simple ADDRESS TOPICS GROUP     the same
TOPICS are some with commas between them, and with a filter each where it is wanted: `topic:tag:a||b`, `topic:sql:x > 5`.
Times are seconds since 1970. VIA is what graygate's handle says: `base`, `lane`, or `drained`, of the lane in MARK.
A message `slow-...` takes three seconds and `long-...` 30; `once-...` fails at its first attempt, `dead-...` at each.
"""

import faulthandler
import logging
import sys
import threading
import time
from concurrent.futures import Future

logging.disable(logging.CRITICAL)
# Where a client that does not become ready hangs.
faulthandler.dump_traceback_later(60)

from rocketmq.grpc_protocol import FilterType, TransactionResolution  # noqa: E402
from rocketmq.v5.client import ClientConfiguration, ClientScheduler, Credentials, client_telemetry_manager  # noqa: E402
from rocketmq.v5.consumer import PushConsumer, SimpleConsumer  # noqa: E402
from rocketmq.v5.consumer.push import ConsumeResult, MessageListener  # noqa: E402
from rocketmq.v5.model import FilterExpression, Message  # noqa: E402
from rocketmq.v5.producer import Producer, TransactionChecker  # noqa: E402

# A stream of settings that broke, with a gateway or with the broker, is opened again only when settings are told the next
# time: every five minutes, which is too long for a test. A broker that restarted hands out nothing before.
OFTEN, SELDOM = 5, 300


def sooner(name, work, first, every, loop):
    return ClientScheduler(name, work, first, OFTEN if every == SELDOM else every, loop)


client_telemetry_manager.ClientScheduler = sooner

lock = threading.Lock()


def tell(*words):
    with lock:
        print(*words, flush=True)


def is_ready():
    faulthandler.cancel_dump_traceback_later()
    tell("ready")


def now():
    return f"{time.time():.4f}"


class Stamped:
    """Notes when messages came, which is before a thread has time for them."""

    async def _receive_coroutine(self, *arguments):
        messages = await super()._receive_coroutine(*arguments)
        for message in messages or []:
            message.taken = now()
        return messages


class StampedPush(Stamped, PushConsumer):
    pass


class StampedSimple(Stamped, SimpleConsumer):
    pass


def via(message):
    handle = message.receipt_handle or ""
    return "drained" if "~drained~" in handle else "lane" if "~gray~" in handle else "base"


def handled(message):
    """Whether the message was dealt with."""
    name, attempt = message.body.decode(), message.delivery_attempt or 1
    mark = (message.properties or {}).get("gray_lane", "-")
    tell("got", name, attempt, getattr(message, "taken", now()), via(message), mark)
    if name.startswith("slow"):
        time.sleep(3)
    if name.startswith("long"):
        time.sleep(30)
    if name.startswith("once") and attempt <= 1 or name.startswith("dead"):
        tell("failed", name, now())
        return False
    return True


class Listener(MessageListener):
    def consume(self, message):
        if not handled(message):
            return ConsumeResult.FAILURE
        tell("done", message.body.decode(), now())
        return ConsumeResult.SUCCESS


class Checker(TransactionChecker):
    """What became of a transaction whose end did not arrive."""

    def check(self, message):
        is_back = message.body.decode().startswith("back")
        return TransactionResolution.ROLLBACK if is_back else TransactionResolution.COMMIT


def never_again(producer, message, queue, attempt, error):
    ended = Future()
    ended.set_exception(error)
    return ended


def produce(settings, topics, mode="often"):
    """Reads `send ID [VERSION] [@TOPIC] [KEY=VALUE]...`, `half ID` (committed, or rolled back where it is `back-...`), `later ID SECONDS`, and
    `ordered ID GROUP`."""
    if mode == "once":
        Producer._Producer__check_send_retry_condition = never_again
    topics = topics.split(",")
    producer = Producer(settings, topics, Checker())
    producer.startup()
    is_ready()
    for line in sys.stdin:
        how, name, *more = line.split()
        for attempt in range(60):
            message = Message()
            message.topic = topics[0]
            message.body = name.encode()
            message.keys = name
            message.tag = name.split("-")[0]
            if how == "send":
                for word in more:
                    if word.startswith("@"):
                        message.topic = word[1:]
                    else:
                        message.add_property(*(word.split("=") if "=" in word else ("x-gray-version", word)))
            if how == "later":
                message.delivery_timestamp = int(time.time()) + int(more[0])
            if how == "ordered":
                message.message_group = more[0]
            try:
                if how == "half":
                    transaction = producer.begin_transaction()
                    producer.send(message, transaction)
                    transaction.rollback() if name.startswith("back") else transaction.commit()
                else:
                    producer.send(message)
                tell("sent", name, now())
                break
            except Exception as error:
                tell("error", repr(error).replace(" ", "_")[:300])
                if mode == "once":
                    tell("lost", name)
                    time.sleep(0.2)
                    break
                if attempt == 59:
                    raise
                time.sleep(0.5)


def filters(topics):
    found = {}
    for one in topics.split(","):
        topic, kind, text = (one if ":" in one else one + ":tag:*").split(":", 2)
        found[topic] = FilterExpression(text, FilterType.SQL if kind == "sql" else FilterType.TAG)
    return found


def push(settings, topics, group):
    consumer = StampedPush(settings, group, Listener(), filters(topics))
    consumer.startup()
    is_ready()
    sys.stdin.read()
    consumer.shutdown()


def simple(settings, topics, group):
    consumer = StampedSimple(settings, group, filters(topics), await_duration=5)
    consumer.startup()
    is_ready()
    while True:
        try:
            messages = consumer.receive(8, 15) or []
        except Exception:
            time.sleep(0.2)
            continue
        for message in messages:
            if handled(message):
                tell("done", message.body.decode(), now())
                try:
                    consumer.ack(message)
                except Exception as error:
                    # It may have arrived all the same: no answer came.
                    tell("error", repr(error).replace(" ", "_")[:300])


kind, address, *rest = sys.argv[1:]
roles = {"producer": produce, "push": push, "simple": simple}
roles[kind](ClientConfiguration(address, Credentials()), *rest)
