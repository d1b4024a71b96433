"""kafka-python, release 2.0.2 or 3.0: produce with every codec, consume in a group, commit, go on."""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

bootstrap = sys.argv[1]
WITHIN = 90


def patient(client):
    """Release 2.0 gives a broker two seconds to say what it speaks, 3.0 half a minute to be there at all."""
    return {name: WITHIN * 1000 for name in ("api_version_auto_timeout_ms", "bootstrap_timeout_ms") if name in client.DEFAULT_CONFIG}


for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
    topic = f"python-{codec or 'plain'}"
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks="all", **patient(KafkaProducer))
    sent = [(f"key {n}".encode(), f"value {n}".encode(), n) for n in range(100)]
    for key, value, n in sent:
        producer.send(topic, key=key, value=value, headers=[("n", str(n).encode())], timestamp_ms=1700000000000 + n)
    producer.send(topic, key=b"gone", value=None)
    producer.flush()
    producer.close()

    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"group-{topic}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **patient(KafkaConsumer),
    )
    got, until = [], time.monotonic() + WITHIN
    while len(got) < 101:
        assert time.monotonic() < until, f"{topic}: waited in vain after {len(got)} records"
        for records in consumer.poll(timeout_ms=1000).values():
            got.extend(records)
    assert [(r.key, r.value) for r in got[:100]] == [(k, v) for k, v, _ in sent], topic
    assert [r.timestamp for r in got[:100]] == [1700000000000 + n for n in range(100)], topic
    assert [list(r.headers) for r in got[:100]] == [[("n", str(n).encode())] for n in range(100)], topic
    assert (got[100].key, got[100].value) == (b"gone", None), topic
    consumer.commit()
    assert consumer.committed(TopicPartition(topic, 0)) == 101, topic
    consumer.close()

print("round trip done")
