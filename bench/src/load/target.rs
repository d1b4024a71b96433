//! Whom a load speaks to, and about what.

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    pub(crate) address: String,
    #[arg(long, default_value = "load")]
    pub(crate) topic: String,
    #[arg(long, default_value_t = 16)]
    pub(crate) partitions: i32,
}
