// segmentio/kafka-go. It knows no idempotent producer and no static members; see ../README.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

var (
	at     = os.Args[1]
	in     = bufio.NewScanner(os.Stdin)
	codecs = map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	member *kafka.Reader
	topic  string
)

func number(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil {
		panic(err)
	}
	return n
}

func bytes(word string) []byte {
	if word == "-" {
		return nil
	}
	return []byte(word)
}

func tell(m kafka.Message) {
	text := func(held []byte) string {
		if held == nil {
			return "-"
		}
		return string(held)
	}
	pairs := []string{}
	for _, h := range m.Headers {
		pairs = append(pairs, h.Key+"="+string(h.Value))
	}
	headers := strings.Join(pairs, ",")
	if headers == "" {
		headers = "-"
	}
	fmt.Printf("%d\t%d\t%s\t%s\t%d\t%s\n", m.Partition, m.Offset, text(m.Key), text(m.Value), m.Time.UnixMilli(), headers)
}

func produce(words []string) error {
	messages := []kafka.Message{}
	for i := 0; i < number(words[2]); i++ {
		in.Scan()
		w := strings.Split(in.Text(), "\t")
		headers := []kafka.Header{}
		if w[4] != "-" {
			for _, pair := range strings.Split(w[4], ",") {
				name, value, _ := strings.Cut(pair, "=")
				headers = append(headers, kafka.Header{Key: name, Value: []byte(value)})
			}
		}
		messages = append(messages, kafka.Message{Key: bytes(w[1]), Value: bytes(w[2]), Headers: headers,
			Time: time.UnixMilli(int64(number(w[3]))), WriterData: number(w[0])})
	}
	writer := &kafka.Writer{
		Addr: kafka.TCP(at), Topic: words[0], RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond,
		Compression: codecs[words[1]],
		Balancer:    kafka.BalancerFunc(func(m kafka.Message, _ ...int) int { return m.WriterData.(int) }),
	}
	if err := writer.WriteMessages(context.Background(), messages...); err != nil {
		return err
	}
	return writer.Close()
}

func read(words []string) error {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{at}, Topic: words[0], Partition: number(words[1]), MaxWait: 200 * time.Millisecond})
	if err := reader.SetOffset(int64(number(words[2]))); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), 90*time.Second)
	defer stop()
	for left := number(words[3]); left > 0; left-- {
		m, err := reader.ReadMessage(ctx)
		if err != nil {
			return err
		}
		tell(m)
	}
	return reader.Close()
}

func poll(ms int) error {
	wait := time.Duration(ms) * time.Millisecond
	for {
		ctx, stop := context.WithTimeout(context.Background(), wait)
		m, err := member.FetchMessage(ctx)
		stop()
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		tell(m)
		wait = 100 * time.Millisecond
	}
}

func obey(order string, words []string) error {
	switch order {
	case "produce":
		return produce(words)
	case "read":
		return read(words)
	case "join":
		topic = words[1]
		member = kafka.NewReader(kafka.ReaderConfig{
			Brokers: []string{at}, GroupID: words[0], Topic: topic, StartOffset: kafka.FirstOffset,
			SessionTimeout: 25 * time.Second, HeartbeatInterval: 300 * time.Millisecond, MaxWait: 200 * time.Millisecond,
		})
		return nil
	case "poll":
		return poll(number(words[0]))
	case "commit":
		// The library commits what comes after a message.
		return member.CommitMessages(context.Background(),
			kafka.Message{Topic: topic, Partition: number(words[0]), Offset: int64(number(words[1])) - 1})
	case "leave":
		return member.Close()
	}
	return errors.New("no such order: " + order)
}

func main() {
	for in.Scan() {
		words := strings.Split(in.Text(), "\t")
		if err := obey(words[0], words[1:]); err != nil {
			fmt.Printf("error\t%s\n", strings.NewReplacer("\n", " ", "\t", " ").Replace(err.Error()))
		} else {
			fmt.Println("ok")
		}
	}
}
