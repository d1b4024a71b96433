// kafkajs. It knows no consumer without a group and no static members; see ../README.md.
'use strict';

const readline = require('readline');
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs');
const Lz4 = require('kafkajs-lz4');
const { ZstdCodec } = require('zstd-codec');
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');
CompressionCodecs[CompressionTypes.LZ4] = new Lz4().codec;
// Of what other clients pack it is not known how long it was.
const zstd = new Promise((ready) => ZstdCodec.run((codec) => ready(new codec.Streaming())));
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from((await zstd).decompress(buffer)),
});

const CODECS = {
  '-': CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
const kafka = new Kafka({
  clientId: 'node',
  brokers: [process.argv[2]],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 200 },
});
const say = (...words) => process.stdout.write(words.join('\t') + '\n');
const absent = (word) => (word === '-' ? null : word);
const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));

function tell({ partition, message }) {
  const text = (held) => (held === null || held === undefined ? '-' : held.toString());
  const headers = Object.entries(message.headers || {}).map(([name, value]) => `${name}=${value}`);
  say(partition, message.offset, text(message.key), text(message.value), message.timestamp, headers.join(',') || '-');
}

let member, memberTopic, received;

const orders = {
  async produce([topic, codec], lines) {
    const producer = kafka.producer();
    await producer.connect();
    const messages = lines.map(([partition, key, value, timestamp, headers]) => ({
      partition: Number(partition),
      key: absent(key),
      value: absent(value),
      timestamp,
      headers: headers === '-' ? {} : Object.fromEntries(headers.split(',').map((pair) => pair.split('='))),
    }));
    await producer.send({ topic, messages, compression: CODECS[codec], acks: -1 });
    await producer.disconnect();
  },
  async read([topic, partition, from, count]) {
    const consumer = kafka.consumer({ groupId: `reader-${process.pid}-${topic}-${partition}-${from}`, maxWaitTimeInMs: 200 });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    let left = Number(count);
    await new Promise((done, failed) => {
      setTimeout(() => failed(new Error('nothing came')), 90000).unref();
      consumer.run({
        autoCommit: false,
        eachMessage: async (record) => {
          if (record.partition === Number(partition) && Number(record.message.offset) >= Number(from) && left > 0) {
            tell(record);
            left -= 1;
            if (left === 0) done();
          }
        },
      }).catch(failed);
    });
    await consumer.disconnect();
  },
  async join([groupId, topic]) {
    received = [];
    memberTopic = topic;
    member = kafka.consumer({ groupId, sessionTimeout: 25000, heartbeatInterval: 300, maxWaitTimeInMs: 200 });
    await member.connect();
    await member.subscribe({ topic, fromBeginning: true });
    await member.run({ autoCommit: false, eachMessage: async (record) => { received.push(record); } });
  },
  async poll([ms]) {
    for (const until = Date.now() + Number(ms); received.length === 0 && Date.now() < until; ) await pause(10);
    received.splice(0).forEach(tell);
  },
  async commit([partition, offset]) {
    await member.commitOffsets([{ topic: memberTopic, partition: Number(partition), offset }]);
  },
  async seek([partition, offset]) {
    member.seek({ topic: memberTopic, partition: Number(partition), offset });
  },
  async leave() {
    await member.disconnect();
  },
  async stream([topic, count]) {
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    for (let first = 0; first < Number(count); first += 10) {
      const numbers = Array.from({ length: Math.min(10, Number(count) - first) }, (_, i) => first + i);
      await producer.send({ topic, acks: -1, messages: numbers.map((n) => ({ partition: n % 2, value: String(n) })) });
      numbers.forEach((n) => say('acked', n));
    }
    await producer.disconnect();
  },
};

async function main() {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value;
  for (let line = await next(); line !== undefined; line = await next()) {
    const [order, ...words] = line.split('\t');
    try {
      const records = [];
      if (order === 'produce') for (let i = 0; i < Number(words[2]); i += 1) records.push((await next()).split('\t'));
      await orders[order](words, records);
      say('ok');
    } catch (e) {
      say('error', String(e).replace(/[\n\t]/g, ' '));
    }
  }
  process.exit(0);
}

main();
