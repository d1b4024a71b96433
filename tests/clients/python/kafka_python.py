"""kafka-python, old and new."""
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from orders import say, serve, tell


def patient(client):
    """Release 2.0 gives a broker two seconds to say what it speaks, 3.0 half a minute to be there at all."""
    return {name: 90000 for name in ("api_version_auto_timeout_ms", "bootstrap_timeout_ms") if name in client.DEFAULT_CONFIG}


def offset_and_metadata(offset):
    try:
        return OffsetAndMetadata(offset, "", -1)
    except TypeError:
        return OffsetAndMetadata(offset, "")


class Client:
    def __init__(self, at):
        self.at = at

    def produce(self, topic, codec, records):
        producer = KafkaProducer(bootstrap_servers=self.at, compression_type=codec, acks="all",
                                 **patient(KafkaProducer))
        sent = [producer.send(topic, one.value, one.key, one.headers, one.partition, one.timestamp) for one in records]
        producer.flush(90)
        for one in sent:
            one.get(90)
        producer.close()

    def read(self, topic, partition, start, count):
        consumer = KafkaConsumer(bootstrap_servers=self.at, group_id=None, consumer_timeout_ms=90000, **patient(KafkaConsumer))
        consumer.assign([TopicPartition(topic, partition)])
        consumer.seek(TopicPartition(topic, partition), start)
        for record in consumer:
            self.told(record)
            count -= 1
            if not count:
                break
        consumer.close()
        if count:
            raise RuntimeError("nothing came")

    def told(self, record):
        tell(record.partition, record.offset, record.key, record.value, record.timestamp, record.headers)

    def join(self, group, topic, instance):
        settings = {"bootstrap_servers": self.at, "group_id": group, "enable_auto_commit": False,
                    "auto_offset_reset": "earliest", "session_timeout_ms": 25000, "heartbeat_interval_ms": 300}
        if instance:
            settings["group_instance_id"] = instance
        self.topic = topic
        self.consumer = KafkaConsumer(topic, **settings, **patient(KafkaConsumer))

    def poll(self, ms):
        for records in self.consumer.poll(timeout_ms=ms).values():
            for record in records:
                self.told(record)

    def commit(self, partition, offset):
        self.consumer.commit({TopicPartition(self.topic, partition): offset_and_metadata(offset)})

    def seek(self, partition, offset):
        self.consumer.seek(TopicPartition(self.topic, partition), offset)

    def leave(self):
        self.consumer.close()

    def stream(self, topic, count):
        producer = KafkaProducer(bootstrap_servers=self.at, enable_idempotence=True, acks="all", linger_ms=2,
                                 batch_size=256, retry_backoff_ms=50, reconnect_backoff_ms=20,
                                 reconnect_backoff_max_ms=100, delivery_timeout_ms=90000, request_timeout_ms=5000,
                                 **patient(KafkaProducer))
        sent = []
        for number in range(count):
            future = producer.send(topic, str(number).encode(), partition=number % 2)
            future.add_callback(lambda _, number=number: say("acked", number))
            sent.append(future)
            if number % 10 == 0:
                time.sleep(0.005)
        for one in sent:
            one.get(90)
        producer.close()


serve(Client(sys.argv[1]))
