//! What may be created or grown, with Kafka's codes and words; pure.
