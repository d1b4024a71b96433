"""Where kafka-python puts keys: hexadecimal keys on stdin, partition counts as arguments."""
import sys

from kafka.partitioner import DefaultPartitioner


class Cluster:
    """As much of a cluster as a partitioner looks at: one topic of so many partitions."""

    def __init__(self, count):
        self.partitions = range(count)

    def topics(self):
        return {"t"}

    def partitions_for_topic(self, topic):
        return self.partitions

    available_partitions_for_topic = partitions_for_topic


partitioner = DefaultPartitioner()
clusters = [Cluster(int(count)) for count in sys.argv[1:]]
for line in sys.stdin:
    key = bytes.fromhex(line.strip())
    places = [partitioner.partition("t", key, key, None, None, one) for one in clusters]
    print(line.strip(), *places)
