//! Changes an operator asks for.
