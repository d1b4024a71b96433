//! Errors of every room beneath, told in Kafka's codes: the only place that knows both.
