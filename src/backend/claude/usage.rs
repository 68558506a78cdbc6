//! The tokens and the cost in claude's result.

use crate::backend::event::{number, object};
use crate::backend::{Tokens, Usage};
use crate::json::Members;

/// Returns what the result in `result` reports.
///
/// `usage` is that of the turn. `modelUsage` and `total_cost_usd` are those of the session, over all of its calls. If a
/// limit ended the turn, `usage` is all zero, which means that it is unknown.
pub(super) fn usage(result: &Members<'_>) -> Usage {
    let turn = result.get("usage").and_then(object).and_then(|usage| {
        counts(&usage, ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"])
    });
    Usage {
        turn: turn.filter(|turn| *turn != Tokens::default()),
        session: result.get("modelUsage").and_then(object).and_then(|models| session(&models)),
        session_cost: number(result, "total_cost_usd"),
        agent_turns: number(result, "num_turns"),
    }
}

/// Returns the sum over all models.
fn session(models: &Members<'_>) -> Option<Tokens> {
    const NAMES: [&str; 4] = ["inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens"];
    let mut all = models.0.iter().map(|(_, model)| counts(&object(model)?, NAMES));
    let first = all.next()??;
    all.try_fold(first, |sum, tokens| {
        let tokens = tokens?;
        Some(Tokens {
            input: sum.input.saturating_add(tokens.input),
            cached: sum.cached.saturating_add(tokens.cached),
            output: sum.output.saturating_add(tokens.output),
        })
    })
}

/// Returns the counts of members with these names: new input, input written to the cache, input from the cache, output.
fn counts(members: &Members<'_>, [input, written, cached, output]: [&str; 4]) -> Option<Tokens> {
    let count = |name: &str| number::<u64>(members, name);
    let (written, cached) = (count(written).unwrap_or_default(), count(cached).unwrap_or_default());
    let input = count(input)?.saturating_add(written).saturating_add(cached);
    Some(Tokens { input, cached, output: count(output)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage_of(result: &str) -> Usage {
        usage(&serde_json::from_str(result).unwrap())
    }

    #[test]
    fn tokens_of_the_turn_and_of_the_session_are_distinguished() {
        let result = r#"{"num_turns": 2, "total_cost_usd": 0.5, "usage": {"input_tokens": 5,
            "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 7}, "modelUsage": {
            "a": {"inputTokens": 10, "outputTokens": 8, "cacheReadInputTokens": 100, "cacheCreationInputTokens": 30},
            "b": {"inputTokens": 1, "outputTokens": 2}}}"#;
        assert_eq!(
            usage_of(result),
            Usage {
                turn: Some(Tokens { input: 125, cached: 100, output: 7 }),
                session: Some(Tokens { input: 141, cached: 100, output: 10 }),
                session_cost: Some(0.5),
                agent_turns: Some(2),
            }
        );
    }

    #[test]
    fn unknown_counts_are_absent() {
        assert_eq!(usage_of("{}"), Usage::default());
        let limited = r#"{"usage": {"input_tokens": 0, "output_tokens": 0}, "modelUsage": {}, "total_cost_usd": "x"}"#;
        assert_eq!(usage_of(limited), Usage::default());
        let partly =
            r#"{"usage": {"input_tokens": 3}, "modelUsage": {"a": {"inputTokens": 1, "outputTokens": 1}, "b": 1}}"#;
        assert_eq!(usage_of(partly), Usage::default());
    }
}
