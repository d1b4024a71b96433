"""aiokafka."""
import asyncio
import sys
import threading

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from orders import say, serve, tell


class Client:
    def __init__(self, at):
        self.at = at
        # Heartbeats and rebalances go on between orders.
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def __getattr__(self, order):
        act = getattr(type(self), "do_" + order)
        return lambda *words: asyncio.run_coroutine_threadsafe(act(self, *words), self.loop).result()

    async def do_produce(self, topic, codec, records):
        producer = AIOKafkaProducer(bootstrap_servers=self.at, compression_type=codec, acks="all")
        await producer.start()
        sent = [await producer.send(topic, one.value, one.key, one.partition, one.timestamp, one.headers) for one in records]
        await asyncio.gather(*sent)
        await producer.stop()

    async def do_read(self, topic, partition, start, count):
        consumer = AIOKafkaConsumer(bootstrap_servers=self.at, group_id=None)
        await consumer.start()
        consumer.assign([TopicPartition(topic, partition)])
        consumer.seek(TopicPartition(topic, partition), start)
        while count:
            self.told(await asyncio.wait_for(consumer.getone(), 90))
            count -= 1
        await consumer.stop()

    def told(self, record):
        tell(record.partition, record.offset, record.key, record.value, record.timestamp, record.headers)

    async def do_join(self, group, topic, instance):
        self.topic = topic
        self.consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.at, group_id=group, group_instance_id=instance,
                                         enable_auto_commit=False, auto_offset_reset="earliest",
                                         session_timeout_ms=25000, heartbeat_interval_ms=300)
        await self.consumer.start()

    async def do_poll(self, ms):
        for records in (await self.consumer.getmany(timeout_ms=ms)).values():
            for record in records:
                self.told(record)

    async def do_commit(self, partition, offset):
        await self.consumer.commit({TopicPartition(self.topic, partition): offset})

    async def do_seek(self, partition, offset):
        self.consumer.seek(TopicPartition(self.topic, partition), offset)

    async def do_leave(self):
        await self.consumer.stop()

    async def do_stream(self, topic, count):
        producer = AIOKafkaProducer(bootstrap_servers=self.at, enable_idempotence=True, linger_ms=2, max_batch_size=256,
                                    retry_backoff_ms=50, request_timeout_ms=90000)
        await producer.start()
        sent = []
        for number in range(count):
            future = await producer.send(topic, str(number).encode(), partition=number % 2)
            future.add_done_callback(lambda done, number=number: done.exception() or say("acked", number))
            sent.append(future)
            if number % 10 == 0:
                await asyncio.sleep(0.005)
        await asyncio.gather(*sent)
        await producer.stop()


serve(Client(sys.argv[1]))
