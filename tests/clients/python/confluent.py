"""librdkafka, as confluent-kafka wraps it."""
import os
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

from orders import say, serve, tell


class Client:
    def __init__(self, at):
        self.at = at

    def produce(self, topic, codec, records):
        failed = []
        producer = Producer({"bootstrap.servers": self.at, "compression.type": codec or "none"})
        for one in records:
            producer.produce(topic, one.value, one.key, one.partition, timestamp=one.timestamp, headers=one.headers,
                             on_delivery=lambda error, _: failed.append(error) if error else None)
        if producer.flush(90) or failed:
            raise RuntimeError(f"not delivered: {failed}")

    def read(self, topic, partition, start, count):
        consumer = Consumer({"bootstrap.servers": self.at, "group.id": "unused", "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, partition, start)])
        while count:
            message = consumer.poll(90)
            if message is None:
                raise RuntimeError("nothing came")
            count -= self.told(message)
        consumer.close()

    def told(self, message):
        if message.error():
            raise RuntimeError(message.error())
        tell(message.partition(), message.offset(), message.key(), message.value(), message.timestamp()[1], message.headers())
        return 1

    def join(self, group, topic, instance):
        settings = {"bootstrap.servers": self.at, "group.id": group, "enable.auto.commit": False,
                    "auto.offset.reset": "earliest", "session.timeout.ms": 25000, "heartbeat.interval.ms": 300}
        if instance:
            settings["group.instance.id"] = instance
        if assignor := os.environ.get("ROTPETER_ASSIGNOR"):
            settings["partition.assignment.strategy"] = assignor
        self.topic = topic
        self.consumer = Consumer(settings)
        self.consumer.subscribe([topic])

    def poll(self, ms):
        until = time.monotonic() + ms / 1000
        while (left := until - time.monotonic()) > 0:
            message = self.consumer.poll(left)
            if message is not None:
                self.told(message)
                until = min(until, time.monotonic() + 0.1)

    def commit(self, partition, offset):
        self.consumer.commit(offsets=[TopicPartition(self.topic, partition, offset)], asynchronous=False)

    def seek(self, partition, offset):
        self.consumer.seek(TopicPartition(self.topic, partition, offset))

    def leave(self):
        self.consumer.close()

    def stream(self, topic, count):
        failed = []

        def delivered(error, message):
            if error:
                failed.append(error)
            else:
                say("acked", message.value().decode())

        producer = Producer({"bootstrap.servers": self.at, "enable.idempotence": True, "linger.ms": 2,
                             "batch.num.messages": 10, "message.timeout.ms": 90000, "retry.backoff.ms": 50,
                             "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100})
        for number in range(count):
            producer.produce(topic, str(number).encode(), partition=number % 2, on_delivery=delivered)
            producer.poll(0)
            if number % 10 == 0:
                producer.poll(0.005)
        if producer.flush(90) or failed:
            raise RuntimeError(f"not delivered: {failed}")


serve(Client(sys.argv[1]))
