//! Tools of the trade, with no word of Kafka or ZooKeeper in them.
//!
//! The admission rule: whatever stands here would be at home in `std` or in tokio. Modules are
//! listed lowest first; a module names only those before it.

pub mod clock;
pub mod chance;
pub mod last;
pub mod backoff;
pub mod descriptors;
pub mod disk;
pub mod faulty_disk;
pub mod durable;
pub mod stop;
pub mod signals;
pub mod tasks;
pub mod properties;
pub mod io_pool;
pub mod metrics;
pub mod logging;
