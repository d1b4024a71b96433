//! Which versions the other side speaks, asked once, and the highest both do.

use std::collections::HashMap;

use protocol::kafka::apis::{Api, ROWS};
use protocol::messages::ApiVersionsResponse;

/// The ranges one broker announced.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    ranges: HashMap<i16, (i16, i16)>,
    /// Feature names with their supported ranges, and what is finalized.
    pub answer: ApiVersionsResponse,
}

impl Versions {
    pub fn of(answer: ApiVersionsResponse) -> Self {
        let ranges = answer.api_keys.iter();
        let ranges = ranges
            .map(|row| (row.api_key, (row.min_version, row.max_version)))
            .collect();
        Versions { ranges, answer }
    }

    /// What a broker is believed to speak before it was asked: all that we do.
    pub fn assumed() -> Self {
        let ranges = ROWS
            .iter()
            .map(|row| (row.api.key(), (row.version_min, row.version_max)));
        Versions {
            ranges: ranges.collect(),
            answer: ApiVersionsResponse::default(),
        }
    }

    /// The range of a key, known to us or not.
    pub fn range(&self, key: i16) -> Option<(i16, i16)> {
        self.ranges.get(&key).copied()
    }

    /// The highest version both speak.
    pub fn pick(&self, api: Api) -> Option<i16> {
        self.pick_within(api, api.row().version_min, api.row().version_max)
    }

    /// The highest version both speak within bounds of the caller's.
    pub fn pick_within(&self, api: Api, low: i16, high: i16) -> Option<i16> {
        let (theirs_min, theirs_max) = self.range(api.key())?;
        let row = api.row();
        let highest = theirs_max.min(row.version_max).min(high);
        (highest >= theirs_min.max(row.version_min).max(low)).then_some(highest)
    }
}

#[cfg(test)]
mod tests {
    use protocol::messages::api_versions_response::ApiVersion;

    use super::*;

    #[test]
    fn the_highest_version_both_speak_is_picked() {
        let row = |key, low, high| {
            ApiVersion::default()
                .with_api_key(key)
                .with_min_version(low)
                .with_max_version(high)
        };
        let keys = vec![row(0, 3, 20), row(1, 0, 4), row(2, 90, 99)];
        let versions = Versions::of(ApiVersionsResponse::default().with_api_keys(keys));
        assert_eq!(versions.pick(Api::Produce), Some(11));
        assert_eq!(versions.pick(Api::Fetch), Some(4));
        assert_eq!(versions.pick(Api::ListOffsets), None);
        assert_eq!(versions.pick(Api::Metadata), None);
        assert_eq!(versions.pick_within(Api::Produce, 0, 2), None);
    }
}
