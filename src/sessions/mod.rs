//! From a name or an ID on the command line to one stored session, locked for one turn.

pub(crate) mod activity;
pub(crate) mod conflict;
pub(crate) mod history;
pub(crate) mod json;
pub(crate) mod lock;
pub(crate) mod lookup;
pub(crate) mod selector;
pub(crate) mod settings;
pub(crate) mod suggest;
