//! The tokens and the cost of a turn, as an agent reports them.

/// What a turn used. `None` means that the agent did not report it.
///
/// An agent counts either for the turn or for the session, which includes the turns before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// The tokens of this turn.
    pub turn: Option<Tokens>,
    /// The tokens of the session until the end of this turn.
    pub session: Option<Tokens>,
    /// The cost of the session until the end of this turn, in US dollars.
    pub session_cost: Option<f64>,
    /// The number of replies of the model in this turn.
    pub agent_turns: Option<u64>,
}

/// Numbers of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// All tokens that the model received.
    pub input: u64,
    /// The part of them that came from a cache.
    pub cached: u64,
    pub output: u64,
}

impl Tokens {
    /// Returns how many tokens were used since `earlier`, or `None` if `earlier` is not an earlier count.
    pub(crate) fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            input: self.input.checked_sub(earlier.input)?,
            cached: self.cached.checked_sub(earlier.cached)?,
            output: self.output.checked_sub(earlier.output)?,
        })
    }
}
