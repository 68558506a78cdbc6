//! The tests of the program as a user meets it: through its arguments, its outputs and its files. A module per feature.

mod conformance;
mod support;
