//! From API key to handler: the only holder of all services.
