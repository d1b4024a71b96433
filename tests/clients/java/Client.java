// Apache's Java client, any release since 2.0. See ../README.md.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

public class Client {
    static final BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    static String at;
    static KafkaConsumer<String, String> member;
    static String memberTopic;

    public static void main(String[] arguments) throws Exception {
        at = arguments[0];
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                obey(line.split("\t"));
                say("ok");
            } catch (Exception e) {
                say("error\t" + String.valueOf(e).replace('\n', ' ').replace('\t', ' '));
            }
        }
        System.exit(0);
    }

    static void obey(String[] words) throws Exception {
        switch (words[0]) {
            case "produce": produce(words[1], words[2], Integer.parseInt(words[3])); break;
            case "read": read(words[1], Integer.parseInt(words[2]), Long.parseLong(words[3]), Integer.parseInt(words[4])); break;
            case "join": join(words[1], words[2], words[3]); break;
            case "poll": tell(member.poll(Duration.ofMillis(Long.parseLong(words[1])))); break;
            case "commit":
                member.commitSync(Collections.singletonMap(
                    new TopicPartition(memberTopic, Integer.parseInt(words[1])),
                    new OffsetAndMetadata(Long.parseLong(words[2]))));
                break;
            case "seek": member.seek(new TopicPartition(memberTopic, Integer.parseInt(words[1])), Long.parseLong(words[2])); break;
            case "leave": member.close(); break;
            case "stream": stream(words[1], Integer.parseInt(words[2])); break;
            default: throw new IllegalArgumentException("no such order: " + words[0]);
        }
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static String absent(String word) {
        return word.equals("-") ? null : word;
    }

    static Properties settings(String... pairs) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", at);
        for (String side : new String[] {"key", "value"}) {
            settings.put(side + ".serializer", "org.apache.kafka.common.serialization.StringSerializer");
            settings.put(side + ".deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        }
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        for (int i = 0; i < pairs.length; i += 2) settings.put(pairs[i], pairs[i + 1]);
        return settings;
    }

    static void produce(String topic, String codec, int count) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        // Before 2.1 the time of a request is that of a batch, from when it was made: it waits in line for all the others.
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(
                settings("compression.type", codec.equals("-") ? "none" : codec, "acks", "all"))) {
            for (int i = 0; i < count; i++) {
                String[] words = in.readLine().split("\t");
                List<Header> headers = new ArrayList<>();
                if (!words[4].equals("-")) {
                    for (String pair : words[4].split(",")) {
                        String[] sides = pair.split("=");
                        headers.add(new RecordHeader(sides[0], sides[1].getBytes(StandardCharsets.UTF_8)));
                    }
                }
                sent.add(producer.send(new ProducerRecord<>(topic, Integer.parseInt(words[0]),
                    Long.parseLong(words[3]), absent(words[1]), absent(words[2]), headers)));
            }
            for (Future<RecordMetadata> one : sent) one.get();
        }
    }

    static void read(String topic, int partition, long from, int count) {
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings())) {
            TopicPartition wanted = new TopicPartition(topic, partition);
            consumer.assign(Collections.singleton(wanted));
            consumer.seek(wanted, from);
            long until = System.nanoTime() + 90_000_000_000L;
            while (count > 0) {
                if (System.nanoTime() > until) throw new IllegalStateException("nothing came");
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    if (count-- > 0) tell(record);
                }
            }
        }
    }

    static void tell(ConsumerRecords<String, String> records) {
        for (ConsumerRecord<String, String> record : records) tell(record);
    }

    static void tell(ConsumerRecord<String, String> record) {
        StringBuilder headers = new StringBuilder();
        for (Header header : record.headers()) {
            if (headers.length() > 0) headers.append(',');
            headers.append(header.key()).append('=').append(new String(header.value(), StandardCharsets.UTF_8));
        }
        say(record.partition() + "\t" + record.offset() + "\t" + text(record.key()) + "\t" + text(record.value())
            + "\t" + record.timestamp() + "\t" + (headers.length() == 0 ? "-" : headers));
    }

    static String text(String held) {
        return held == null ? "-" : held;
    }

    static void join(String group, String topic, String instance) {
        Properties settings = settings("group.id", group, "session.timeout.ms", "25000", "heartbeat.interval.ms", "300");
        if (!instance.equals("-")) settings.put("group.instance.id", instance);
        String assignor = System.getenv("ROTPETER_ASSIGNOR");
        if (assignor != null) settings.put("partition.assignment.strategy", assignor);
        memberTopic = topic;
        member = new KafkaConsumer<>(settings);
        member.subscribe(Collections.singleton(topic));
    }

    static void stream(String topic, int count) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        // Before 2.1 the time of a request is that of a batch, from when it was made: it waits in line for all the others.
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings(
                "enable.idempotence", "true", "acks", "all", "retries", "2147483647", "linger.ms", "2",
                "batch.size", "256", "retry.backoff.ms", "50", "reconnect.backoff.ms", "20",
                "reconnect.backoff.max.ms", "100", "request.timeout.ms", "60000"))) {
            for (int i = 0; i < count; i++) {
                String number = Integer.toString(i);
                sent.add(producer.send(new ProducerRecord<>(topic, i % 2, null, number), (metadata, failure) -> {
                    if (failure == null) say("acked\t" + number);
                }));
                if (i % 10 == 0) Thread.sleep(5);
            }
            for (Future<RecordMetadata> one : sent) one.get();
        }
    }
}
