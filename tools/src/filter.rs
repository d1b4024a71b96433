//! Topics by pattern, as the tools take them: a regular expression that must match the whole name,
//! commas standing for "or".

use regex::Regex;

use crate::failure::Failure;

pub(crate) struct Filter(Regex);

impl Filter {
    pub(crate) fn new(pattern: &str) -> Result<Filter, Failure> {
        let either = pattern.trim().replace(',', "|").replace(' ', "");
        let either = either
            .trim_start_matches(['"', '\''])
            .trim_end_matches(['"', '\'']);
        Regex::new(&format!("^(?:{either})$"))
            .map(Filter)
            .map_err(|_| Failure::said(format!("{pattern} is an invalid regex.")))
    }

    pub(crate) fn allows(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}
