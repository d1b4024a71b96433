//! How much a client may use; answers a delay.
