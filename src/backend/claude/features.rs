//! What older releases of claude lack.
//!
//! The first releases were found by calling the published ones. Change logs do not have them all.

use crate::backend::support::{Feature, FeatureEvidence, Release};

pub(super) const FEATURES: &[Feature] = &[
    Feature {
        option: "--session-id",
        what: "create-session",
        plural: false,
        since: Release(1, 0, 53),
        evidence: FeatureEvidence::Unreported,
    },
    Feature {
        option: "--include-partial-messages",
        what: "--format text and --include-partials",
        plural: true,
        since: Release(1, 0, 109),
        evidence: FeatureEvidence::Listed,
    },
    Feature {
        option: "--fork-session",
        what: "fork-session",
        plural: false,
        since: Release(1, 0, 119),
        evidence: FeatureEvidence::Listed,
    },
    // the help hides it
    Feature {
        option: "--append-system-prompt-file",
        what: "roles of more than 100 KiB",
        plural: true,
        since: Release(2, 0, 33),
        evidence: FeatureEvidence::Release,
    },
    Feature {
        option: "--json-schema",
        what: "--schema",
        plural: false,
        since: Release(2, 0, 45),
        evidence: FeatureEvidence::Listed,
    },
    // 2.1.38 lists it, but does not pass it to its default model
    Feature {
        option: "--effort",
        what: "--reasoning-effort",
        plural: false,
        since: Release(2, 1, 45),
        evidence: FeatureEvidence::ListedEarly,
    },
];

/// Returns the release in what `claude --version` prints: `2.1.329 (Claude Code)`.
pub(super) fn release(version: &str) -> Option<Release> {
    Release::parse(version.strip_suffix(" (Claude Code)")?)
}
