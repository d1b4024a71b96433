//! Records: written, read, looked up, deleted.

mod convert;
mod leader;
mod nearby;
pub mod produce;
pub mod fetch;
pub mod list_offsets;
pub mod offset_for_leader_epoch;
pub mod delete_records;
pub mod describe_producers;

#[cfg(test)]
mod tests;
