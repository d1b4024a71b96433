//! Being asked to stop: by SIGTERM, by Ctrl-C, by the terminal that is closed.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from when it is made. The first of them no longer ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where whoever started us had it ignored, as `nohup` does: listening would undo that.
    hangup: Option<Signal>,
}

impl Signals {
    /// Only within a runtime.
    pub fn listen() -> io::Result<Signals> {
        let hangup = SignalKind::hangup();
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: match is_ignored(hangup.as_raw_value(), &status()) {
                true => None,
                false => Some(signal(hangup)?),
            },
        })
    }

    /// The next time somebody asks. Dropping the future early is safe.
    pub async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hangup => {}
        }
    }
}

/// What the kernel says of this process; nothing where there is no such file.
fn status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Whether the mask of ignored signals, in hexadecimal, has this one.
fn is_ignored(number: i32, status: &str) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.unwrap_or_default().trim(), 16).unwrap_or(0);
    let bit = u32::try_from(number - 1).ok();
    bit.and_then(|bit| mask.checked_shr(bit)).unwrap_or(0) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::is_ignored;

    #[test]
    fn the_kernels_mask_tells_what_is_ignored() {
        let status = "Name:\tbroker\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(1, status) && is_ignored(13, status));
        assert!(!is_ignored(2, status) && !is_ignored(15, status));
        assert!(!is_ignored(1, "") && !is_ignored(0, status));
    }
}
