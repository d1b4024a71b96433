//! Hosts the group brain on its internal topic.
