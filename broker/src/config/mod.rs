//! Settings, checked once and cut into what each room needs.
